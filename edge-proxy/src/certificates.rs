//! The certificates that the edge shows to clients, which one for which host name, and to the upstream; read anew when their files
//! change.
//!
//! A handshake takes what is there at that instant and a connection keeps what it has, so nobody who is connected notices a change.
//! Files that cannot be used, or not together, leave the certificate that was there: whoever replaces them writes one after the other.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    listeners::TlsAccept,
    protocols::tls::TlsRef,
    tls::{error::ErrorStack, ext, pkey::PKey, ssl::NameType, x509::X509},
    utils::tls::CertKey,
};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate chain and the key of its first certificate, as PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificates: PathBuf,
    pub key: PathBuf,
}

/// A certificate with its key and those that vouch for it.
struct Certified {
    parts: Arc<CertKey>,
    /// The host names that it is good for, in lower case; `*.` stands for one label.
    names: Vec<String>,
}

impl Certified {
    /// Reads a PEM chain and a PEM key. The error never quotes them.
    fn of_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain = X509::stack_from_pem(certificates).map_err(|error| format!("no certificate: {error}"))?;
        let leaf = chain.first().ok_or("no certificate")?;
        // Its own text may quote what it could not read.
        let key = PKey::private_key_from_pem(key).map_err(|_| "no private key in PEM, or one with a password")?;
        let is_its_own = leaf.public_key().is_ok_and(|public| public.public_eq(&key));
        if !is_its_own {
            return Err("the key is not the certificate's".into());
        }
        let names = leaf.subject_alt_names().into_iter().flatten();
        let names = names.filter_map(|name| Some(name.dnsname()?.to_ascii_lowercase())).collect();
        Ok(Self { parts: Arc::new(CertKey::new(chain, key)), names })
    }

    /// Reads two files.
    fn of_files(files: &Files) -> Result<Self, String> {
        let Files { certificates, key } = files;
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let certified = Self::of_pem(&read(certificates)?, &read(key)?);
        certified.map_err(|error| format!("{}, {}: {error}", certificates.display(), key.display()))
    }

    /// Whether it is good for a host name in lower case, and then whether by that very name.
    fn is_for(&self, host: &str) -> Option<bool> {
        let above = host.split_once('.').map(|(_, above)| above);
        if self.names.iter().any(|name| name == host) {
            return Some(true);
        }
        self.names.iter().any(|name| name.strip_prefix("*.").is_some_and(|name| above == Some(name))).then_some(false)
    }

    fn show(&self, tls: &mut TlsRef) -> Result<(), ErrorStack> {
        ext::ssl_use_certificate(tls, self.parts.leaf())?;
        ext::ssl_use_private_key(tls, self.parts.key())?;
        self.parts.intermediates().iter().try_for_each(|certificate| ext::ssl_add_chain_cert(tls, certificate))
    }
}

/// Certificates that may be replaced.
pub struct Certificates {
    files: Vec<Files>,
    /// Of each pair of files what was read last, good or not.
    read: Mutex<Vec<u64>>,
    /// Of each pair of files the last that was good.
    shown: RwLock<Vec<Arc<Certified>>>,
}

impl Certificates {
    /// Reads at least one pair of files, the first of which is shown where no name fits. All must be good.
    pub fn read(files: Vec<Files>) -> Result<Self, String> {
        // First, so that a change in between is one to come.
        let read = files.iter().map(fingerprint).collect();
        let shown = files.iter().map(|files| Certified::of_files(files).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { files, read: Mutex::new(read), shown: RwLock::new(shown) })
    }

    /// Reads the files whose content has changed. What is wrong with them is logged, and what was good is kept.
    pub fn reload(&self) {
        let mut read = self.read.lock().expect("nothing panics while it holds this lock");
        for (index, files) in self.files.iter().enumerate() {
            let found = fingerprint(files);
            if std::mem::replace(&mut read[index], found) == found {
                continue;
            }
            match Certified::of_files(files) {
                Ok(certified) => {
                    let (names, ends) = (certified.names.join(", "), certified.parts.leaf().not_after().to_string());
                    self.shown.write().expect("nothing panics while it holds this lock")[index] = Arc::new(certified);
                    tracing::info!(names, ends, "a certificate was replaced");
                }
                Err(error) => tracing::error!(error, "a certificate cannot be used; the one before it is kept"),
            }
        }
    }

    /// The first of them.
    pub fn first(&self) -> Arc<CertKey> {
        Arc::clone(&self.shown.read().expect("nothing panics while it holds this lock")[0].parts)
    }

    /// The certificate for a host name.
    fn choose(&self, host: Option<&str>) -> Arc<Certified> {
        let shown = self.shown.read().expect("nothing panics while it holds this lock");
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let fits = |exactly| shown.iter().find(|certified| certified.is_for(&host) == Some(exactly));
        Arc::clone(fits(true).or_else(|| fits(false)).unwrap_or(&shown[0]))
    }
}

/// Tells one content of two files from another. An unreadable one differs from all.
fn fingerprint(files: &Files) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in [&files.certificates, &files.key] {
        std::fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// Shows each handshake the certificate that fits it.
pub struct Chooser(pub Arc<Certificates>);

#[async_trait]
impl TlsAccept for Chooser {
    async fn certificate_callback(&self, tls: &mut TlsRef) {
        let certified = self.0.choose(tls.servername(NameType::HOST_NAME));
        if let Err(error) = certified.show(tls) {
            // The handshake then ends for want of a certificate.
            tracing::error!(%error, "a certificate cannot be shown");
        }
    }
}
