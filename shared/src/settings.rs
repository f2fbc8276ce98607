//! Where the options of the two programs come from beside the command line and the environment, and what is set there in vain.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::{self, VarError},
    ffi::OsString,
    fs, io,
};

use clap::{Arg, ArgMatches, Command, error::ContextKind};

use crate::credential::Digest;

/// Every option of the two programs, one `NAME=` a line, which a test keeps so.
const EXAMPLE: &str = include_str!("../../.env.example");
/// Options may stand in this file of the working folder.
const ENV_FILE: &str = ".env";
/// What is read without being an option.
const READ_AS_WELL: [&str; 1] = ["USER_PASSWORD"];
/// What stands after the name of an option whose value is in a file.
const OF_FILE: &str = "_FILE";
/// More is no secret.
const MOST_BYTES: u64 = 64 * 1024;
/// Names that differ by no more letters than these are taken for each other, if they are as long as this.
const SLIPS: usize = 2;
const TELLING_LENGTH: usize = 6;

/// What keeps a secret from being read. Never tells any of it.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{0} and {0}_FILE are both set; which one counts?")]
    Both(String),
    #[error("{0}_FILE: the file cannot be read: {1}")]
    Unreadable(String, #[source] io::Error),
    /// Why is not said, for that would repeat the line, and with it a secret.
    #[error(".env cannot be read")]
    EnvFile,
    #[error("{0}")]
    Wrong(String),
}

/// What the file `.env` set at the start. The environment wins over it.
pub struct EnvFile(BTreeSet<String>);

impl EnvFile {
    /// Sets what the file sets and the environment does not. That there is none is the usual case; one that cannot be read must not be
    /// passed over.
    ///
    /// # Errors
    ///
    /// [`SettingsError::EnvFile`].
    pub fn load() -> Result<Self, SettingsError> {
        let names = Self::read()?.into_keys().filter(|name| env::var_os(name).is_none()).collect();
        match dotenvy::from_path(ENV_FILE) {
            Err(error) if !error.not_found() => Err(SettingsError::EnvFile),
            _ => Ok(Self(names)),
        }
    }

    fn read() -> Result<BTreeMap<String, String>, SettingsError> {
        match dotenvy::from_path_iter(ENV_FILE) {
            Ok(pairs) => pairs.collect::<Result<_, _>>().map_err(|_| SettingsError::EnvFile),
            Err(error) if error.not_found() => Ok(BTreeMap::new()),
            Err(_) => Err(SettingsError::EnvFile),
        }
    }
}

/// The options of a running process, to be read again: of the command line and the environment, which stay, and of `.env`, which may
/// have changed.
pub struct Rereading {
    command: Command,
    file: EnvFile,
    /// What each option was, by its name; not in plain text, for it may be a secret.
    known: BTreeMap<String, Digest>,
}

impl Rereading {
    /// `matches` is what was read at the start of `command`, which has one subcommand that serves.
    pub fn new(command: Command, file: EnvFile, matches: &ArgMatches) -> Self {
        let known = digests(&command, matches);
        Self { command, file, known }
    }

    /// Reads every option again; what was read, and the names of those that are others than the last time.
    ///
    /// # Errors
    ///
    /// Says which option is wrong, and never its value; then nothing has changed.
    pub fn read(&mut self) -> Result<(ArgMatches, Vec<String>), SettingsError> {
        let pairs = EnvFile::read()?;
        let mut arguments: Vec<OsString> = env::args_os().collect();
        let given: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let is_given = |long: &str| {
            let is_it =
                |given: &str| given.strip_prefix("--").is_some_and(|given| given.split('=').next() == Some(long));
            given.iter().any(|given| is_it(given))
        };
        let serving = serving(&self.command).map(|serving| serving.get_name().to_owned());
        let mut command = with_secrets_of_files(self.command.clone())?;
        for (is_below, argument) in options(&self.command) {
            let (Some(name), Some(long)) = (name_of(&argument), argument.get_long()) else { continue };
            if env::var_os(&name).is_some() && !self.file.0.contains(&name) {
                continue;
            }
            // What the file says now counts, and not what it said at the start, which stands in the environment.
            let id = argument.get_id().clone();
            let forgets = |argument: Arg| argument.env(None::<&str>);
            command = match &serving {
                Some(serving) if is_below => command.mut_subcommand(serving, |serving| serving.mut_arg(id, forgets)),
                _ => command.mut_arg(id, forgets),
            };
            if let Some(value) = pairs.get(&name).filter(|_| !is_given(long)) {
                arguments.push(format!("--{long}={value}").into());
            }
        }
        let matches = command.try_get_matches_from(arguments).map_err(|error| SettingsError::Wrong(told(&error)))?;
        let known = digests(&self.command, &matches);
        let differs = |name: &&String| known.get(*name) != self.known.get(*name);
        let names: BTreeSet<&String> = known.keys().chain(self.known.keys()).collect();
        let changed = names.into_iter().filter(differs).cloned().collect();
        self.known = known;
        Ok((matches, changed))
    }
}

/// What is wrong, without the value, which may be a secret.
fn told(error: &clap::Error) -> String {
    let option = error.get(ContextKind::InvalidArg).map(|option| option.to_string()).unwrap_or_default();
    format!("{option}: {}", error.kind())
}

fn serving(command: &Command) -> Option<&Command> {
    command.get_subcommands().find(|below| below.get_name() == "serve")
}

/// The options of a command, and whether they are of the one below it that serves.
fn options(command: &Command) -> Vec<(bool, Arg)> {
    let own = command.get_arguments().map(|argument| (false, argument.clone()));
    let below = serving(command).into_iter().flat_map(Command::get_arguments);
    own.chain(below.map(|argument| (true, argument.clone()))).collect()
}

fn name_of(argument: &Arg) -> Option<String> {
    Some(argument.get_env()?.to_string_lossy().into_owned())
}

fn digests(command: &Command, matches: &ArgMatches) -> BTreeMap<String, Digest> {
    let below = matches.subcommand().map_or(matches, |(_, below)| below);
    let digest = |(_, argument): (bool, Arg)| {
        let id = argument.get_id().as_str();
        let raw = [below, matches].into_iter().find_map(|matches| matches.try_get_raw(id).ok().flatten())?;
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        Some((name_of(&argument)?, Digest::of(values.join("\n").as_bytes())))
    };
    options(command).into_iter().filter_map(digest).collect()
}

/// Gives every secret option of a command and of those below it, that is an option whose value `--help` hides, the first line of
/// the file that `<NAME>_FILE` names, where that is set.
///
/// # Errors
///
/// Names the option that is set twice, or whose file cannot be read.
pub fn with_secrets_of_files(mut command: Command) -> Result<Command, SettingsError> {
    let secrets = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
    let secrets: Vec<_> =
        secrets.filter_map(|argument| Some((argument.get_id().clone(), argument.get_env()?))).collect();
    let mut found = Vec::new();
    for (id, name) in secrets {
        let name = name.to_string_lossy();
        if let Some(secret) = secret_of_file(&name)? {
            found.push((id, secret));
        }
    }
    for (id, secret) in found {
        // What has a default is not missing.
        command =
            command.mut_arg(id, |argument| argument.required(false).default_value(secret).hide_default_value(true));
    }
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in below {
        let mut failed = None;
        command = command.mut_subcommand(name, |below| {
            with_secrets_of_files(below.clone()).unwrap_or_else(|error| {
                failed = Some(error);
                below
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(command)
}

fn secret_of_file(name: &str) -> Result<Option<String>, SettingsError> {
    let file = match env::var(format!("{name}{OF_FILE}")) {
        Ok(file) if !file.is_empty() => file,
        Ok(_) | Err(VarError::NotPresent) => return Ok(None),
        Err(error) => return Err(SettingsError::Unreadable(name.to_owned(), io::Error::other(error))),
    };
    if env::var_os(name).is_some_and(|value| !value.is_empty()) {
        return Err(SettingsError::Both(name.to_owned()));
    }
    let read = || {
        if fs::metadata(&file)?.len() > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too long for a secret"));
        }
        fs::read_to_string(&file)
    };
    let text = read().map_err(|error| SettingsError::Unreadable(name.to_owned(), error))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

/// A variable that is set and that nobody reads, though it looks like one that somebody does.
#[derive(Debug, thiserror::Error)]
#[error("{name} is set, and is no option: was {nearest} meant?")]
pub struct Misspelled {
    pub name: String,
    /// What it may have been meant for.
    pub nearest: &'static str,
}

/// The variables of this process that look like slips of the pen.
pub fn misspelled() -> Vec<Misspelled> {
    misspelled_among(env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn misspelled_among(names: impl Iterator<Item = String>) -> Vec<Misspelled> {
    let known = known();
    let slip = |name: String| {
        let option = name.strip_suffix(OF_FILE).unwrap_or(&name);
        if option.len() < TELLING_LENGTH || known.contains(option) || known.contains(name.as_str()) {
            return None;
        }
        let distances = known.iter().map(|known| (strsim::damerau_levenshtein(option, known), *known));
        let (distance, nearest) = distances.min()?;
        (distance <= SLIPS).then(|| Misspelled { name: name.clone(), nearest })
    };
    names.filter_map(slip).collect()
}

fn known() -> BTreeSet<&'static str> {
    let options = EXAMPLE.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix('#').unwrap_or(line).split_once('=')?;
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_').then_some(name)
    });
    options.chain(READ_AS_WELL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_found_with_what_was_meant() {
        let nearest = |name: &str| {
            let found = misspelled_among([name.to_owned()].into_iter());
            found.first().map(|misspelled| misspelled.nearest)
        };
        for (name, meant) in [
            ("ZENZEFI_ULR", Some("ZENZEFI_URL")),
            ("REDIS_URI", Some("REDIS_URL")),
            ("SECRET_KEYS_FILE", Some("SECRET_KEY")),
            ("PUBLIC_ORIGINS", Some("PUBLIC_ORIGIN")),
            ("REDIS_URL", None),
            ("REDIS_URL_FILE", None),
            ("EDGE_TLS_CERT_FILE", None),
            ("USER_PASSWORD", None),
            ("PATH", None),
            ("LANGUAGE", None),
        ] {
            assert_eq!(nearest(name), meant, "{name}");
        }
    }
}
