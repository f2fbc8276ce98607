//! The certificates that the edge shows to clients, which one for which host name, and to the
//! upstream; read anew when their files change.
//!
//! A handshake takes what is there at that instant and a connection keeps what it has, so nobody
//! who is connected notices a change. Files that cannot be used, or not together, leave the
//! certificate that was there: a program that replaces them writes one after the other.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::NaiveDateTime;
use pingora::{
    listeners::TlsAccept,
    protocols::tls::TlsRef,
    tls::{error::ErrorStack, ext, pkey::PKey, ssl::NameType, x509::X509},
    utils::tls::CertKey,
};

use crate::sync::{Mutex, RwLock};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate chain and the key of its first certificate, as PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificates: PathBuf,
    pub key: PathBuf,
    pub need: Need,
}

/// How much depends on a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is there from the start.
    Required,
    /// Somebody gets it while this program runs.
    Awaited,
    /// It was issued for other names, and is shown where no other fits.
    Fallback,
}

/// A certificate with its key and those that vouch for it.
pub struct Certified {
    parts: Arc<CertKey>,
    /// The host names that it is good for, in lower case; `*.` stands for one label.
    names: Vec<String>,
}

impl Certified {
    /// Reads a PEM chain and a PEM key. The error never quotes them.
    pub fn of_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
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
    pub fn of_files(files: &Files) -> Result<Self, String> {
        let Files { certificates, key, .. } = files;
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let certified = Self::of_pem(&read(certificates)?, &read(key)?);
        certified.map_err(|error| format!("{}, {}: {error}", certificates.display(), key.display()))
    }

    /// How long it can be shown for all of these hosts, in lower case, before another should be
    /// had: until two thirds of its time are over. Nothing where it is not for all of them. `now`
    /// in seconds since 1970.
    pub fn lasts(&self, hosts: &[String], now: i64) -> Duration {
        let is_for_all = hosts.iter().all(|host| self.is_for(host).is_some());
        let span = self.span().filter(|_| is_for_all);
        span.map_or(Duration::ZERO, |(begins, ends)| until(ends - (ends - begins) / 3, now))
    }

    /// How long it is good.
    fn rest(&self, now: i64) -> Duration {
        self.span().map_or(Duration::ZERO, |(_, ends)| until(ends, now))
    }

    /// From when until when it is good, in seconds since 1970.
    fn span(&self) -> Option<(i64, i64)> {
        let leaf = self.parts.leaf();
        Some((timestamp(&leaf.not_before().to_string())?, timestamp(&leaf.not_after().to_string())?))
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
    shown: RwLock<Vec<Option<Arc<Certified>>>>,
}

impl Certificates {
    /// Reads at least one pair of files, the first of which is shown where no name fits. All that
    /// may not be missing must be good.
    pub fn read(files: Vec<Files>) -> Result<Self, String> {
        // First, so that a change in between is one to come.
        let read = files.iter().map(fingerprint).collect();
        let good = |files: &Files| match Certified::of_files(files) {
            Err(_) if files.need != Need::Required && !files.certificates.exists() => Ok(None),
            Err(error) if files.need != Need::Required => {
                tracing::error!(error, "a certificate cannot be used; TLS has none until another is read");
                Ok(None)
            }
            read => read.map(|certified| Some(Arc::new(certified))),
        };
        let shown = files.iter().map(good).collect::<Result<_, _>>()?;
        Ok(Self { files, read: Mutex::new(read), shown: RwLock::new(shown) })
    }

    /// Reads the files whose content has changed. What is wrong with them is logged, and what was
    /// good is kept.
    pub fn reload(&self) {
        let mut read = self.read.lock();
        for (index, files) in self.files.iter().enumerate() {
            let found = fingerprint(files);
            if std::mem::replace(&mut read[index], found) == found {
                continue;
            }
            match Certified::of_files(files) {
                Ok(certified) => {
                    let (names, ends) = (certified.names.join(", "), certified.parts.leaf().not_after().to_string());
                    self.shown.write()[index] = Some(Arc::new(certified));
                    tracing::info!(names, ends, "a certificate was replaced");
                }
                Err(error) => tracing::error!(error, "a certificate cannot be used; the one before it is kept"),
            }
        }
    }

    /// How long all of them are good but those that are fallbacks; nothing where one is missing.
    /// `now` in seconds since 1970.
    pub fn rest(&self, now: i64) -> Duration {
        let shown = self.shown.read();
        let needed = self.files.iter().zip(shown.iter()).filter(|(files, _)| files.need != Need::Fallback);
        let rests = needed.map(|(_, shown)| shown.as_ref().map_or(Duration::ZERO, |certified| certified.rest(now)));
        rests.min().unwrap_or_default()
    }

    /// Whether one of them is good for one of these hosts, in lower case.
    pub fn are_for_any(&self, hosts: &[String]) -> bool {
        let shown = self.shown.read();
        shown.iter().flatten().any(|certified| hosts.iter().any(|host| certified.is_for(host).is_some()))
    }

    /// The first of them.
    pub fn first(&self) -> Option<Arc<CertKey>> {
        let shown = self.shown.read();
        shown.iter().flatten().next().map(|certified| Arc::clone(&certified.parts))
    }

    /// The certificate for a host name; `None` while there is none at all.
    fn choose(&self, host: Option<&str>) -> Option<Arc<Certified>> {
        let shown = self.shown.read();
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let of = |is_fallback| {
            let all = self.files.iter().zip(shown.iter());
            let of = all.filter(move |(files, _)| (files.need == Need::Fallback) == is_fallback);
            of.filter_map(|(_, shown)| shown.as_ref())
        };
        let fitting = |is_fallback| {
            let fits = |exactly| of(is_fallback).find(|certified| certified.is_for(&host) == Some(exactly));
            fits(true).or_else(|| fits(false))
        };
        fitting(false).or_else(|| fitting(true)).or_else(|| of(false).next()).or_else(|| of(true).next()).cloned()
    }
}

/// Reads a time as OpenSSL writes it, which tells it in no other way, such as `Nov 23 09:00:00 2026
/// GMT`: seconds since 1970.
fn timestamp(written: &str) -> Option<i64> {
    Some(NaiveDateTime::parse_from_str(written, "%b %e %H:%M:%S %Y GMT").ok()?.and_utc().timestamp())
}

fn until(end: i64, now: i64) -> Duration {
    Duration::from_secs(u64::try_from(end.saturating_sub(now)).unwrap_or_default())
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
        // Without one the handshake ends.
        let Some(certified) = self.0.choose(tls.servername(NameType::HOST_NAME)) else { return };
        if let Err(error) = certified.show(tls) {
            tracing::error!(%error, "a certificate cannot be shown");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn the_times_of_a_certificate_are_read() {
        assert_eq!(timestamp("Jan  2 00:00:01 1970 GMT"), Some(86_401));
        assert_eq!(timestamp("Nov 23 13:00:00 2026 GMT"), Some(1_795_438_800));
        assert_eq!(timestamp("Bad time value"), None);
    }

    /// For these names, from the first of January of 2026 for three days.
    fn certified(names: &[&str]) -> Certified {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 4);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Certified::of_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).expect("a pair")
    }

    #[test]
    fn a_fallback_is_shown_where_no_other_fits_and_no_alarm_is_raised_for_it() {
        let all = [
            (Need::Required, Some(certified(&["*.one.test"]))),
            (Need::Fallback, Some(certified(&["a.one.test", "a.two.test"]))),
            (Need::Fallback, None),
        ];
        let (needs, shown): (Vec<Need>, Vec<_>) = all.into_iter().unzip();
        let files = needs.into_iter().map(|need| Files { certificates: PathBuf::new(), key: PathBuf::new(), need });
        let certificates = Certificates {
            files: files.collect(),
            read: Mutex::default(),
            shown: RwLock::new(shown.into_iter().map(|shown| shown.map(Arc::new)).collect()),
        };
        let shown = |host| certificates.choose(Some(host)).expect("a certificate").names[0].clone();
        let hosts = ["a.one.test", "A.two.test", "three.test"];
        assert_eq!(hosts.map(shown), ["*.one.test", "a.one.test", "*.one.test"]);
        let begins = timestamp("Jan  1 00:00:00 2026 GMT").expect("a time");
        assert_eq!(certificates.rest(begins).as_secs(), 72 * 3_600);
    }

    #[test]
    fn a_certificate_lasts_for_two_thirds_of_its_time_and_for_its_own_names_alone() {
        let certified = certified(&["one.test", "*.two.test"]);
        let begins = timestamp("Jan  1 00:00:00 2026 GMT").expect("a time");
        let lasts = |hosts: &[&str], hours: i64| {
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            certified.lasts(&hosts, begins + hours * HOUR).as_secs() / 3_600
        };
        assert_eq!(lasts(&["one.test", "a.two.test"], 0), 48);
        assert_eq!([47, 48, 100].map(|hours| lasts(&["one.test"], hours)), [1, 0, 0]);
        assert_eq!(lasts(&["one.test", "three.test"], 0), 0);
        assert_eq!([0, 71, 73].map(|hours| certified.rest(begins + hours * HOUR).as_secs() / 3_600), [72, 1, 0]);
    }
}
