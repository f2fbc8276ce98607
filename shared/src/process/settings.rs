//! Where the options of the two programs come from beside the command line and the environment, and
//! what is set there in vain.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs, io,
};

use clap::{Arg, ArgMatches, Command, error::ContextKind};

use crate::token::credential::Digest;

/// Every option of the two programs, one `NAME=` a line, which a test keeps so.
const EXAMPLE: &str = include_str!("../../../.env.example");
/// Options may stand in this file of the working folder.
const ENV_FILE: &str = ".env";
/// What is read without being an option.
const READ_AS_WELL: [&str; 1] = ["USER_PASSWORD"];
/// What stands after the name of an option whose value is in a file.
const OF_FILE: &str = "_FILE";
/// More is no secret.
const MOST_BYTES: u64 = 64 * 1024;
/// Names that differ by no more letters than these are taken for each other, if they are as long as
/// this.
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
    /// Sets what the file sets and the environment does not. That there is none is the usual case;
    /// one that cannot be read must not be passed over.
    ///
    /// # Errors
    ///
    /// [`SettingsError::EnvFile`].
    pub fn load() -> Result<Self, SettingsError> {
        let pairs = Self::pairs(&Self::text()?)?;
        let names = pairs.into_keys().filter(|name| env::var_os(name).is_none()).collect();
        match dotenvy::from_path(ENV_FILE) {
            Err(error) if !error.not_found() => Err(SettingsError::EnvFile),
            _ => Ok(Self(names)),
        }
    }

    fn text() -> Result<String, SettingsError> {
        match fs::read_to_string(ENV_FILE) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(_) => Err(SettingsError::EnvFile),
        }
    }

    /// By the rules of [`EnvFile::load`]: of two equal names the first counts.
    fn pairs(text: &str) -> Result<BTreeMap<String, String>, SettingsError> {
        let mut pairs = BTreeMap::new();
        for pair in dotenvy::from_read_iter(text.trim_start_matches('\u{feff}').as_bytes()) {
            let (name, value) = pair.map_err(|_| SettingsError::EnvFile)?;
            pairs.entry(name).or_insert(value);
        }
        Ok(pairs)
    }

    /// What a variable is with these pairs in the file.
    fn variable(&self, name: &str, pairs: &BTreeMap<String, String>) -> Option<OsString> {
        if self.is_free(name) { pairs.get(name).map(OsString::from) } else { env::var_os(name) }
    }

    /// Whether the file says what a variable is, and not the environment.
    fn is_free(&self, name: &str) -> bool {
        self.0.contains(name) || env::var_os(name).is_none()
    }
}

/// The options of a running process, to be read again: of the command line and the environment,
/// which stay, and of `.env`, which may have changed.
pub struct Rereading {
    command: Command,
    file: EnvFile,
    /// The names of those that change at once.
    changeable: &'static [&'static str],
    /// What each option was at the start and is now, by its name; not in plain text, for it may be
    /// a secret.
    first: BTreeMap<String, Digest>,
    now: BTreeMap<String, Digest>,
}

impl Rereading {
    /// `matches` is what was read at the start of `command`, which has one subcommand that serves.
    pub fn new(command: Command, file: EnvFile, matches: &ArgMatches, changeable: &'static [&'static str]) -> Self {
        let first = digests(&command, matches);
        Self { command, file, changeable, now: first.clone(), first }
    }

    /// Reads every option again, and tells in the log which have changed, and which cannot without
    /// a start; gives what `check` made of them.
    ///
    /// # Errors
    ///
    /// Says which option is wrong, and never its value; then nothing has changed.
    pub fn read<Checked>(
        &mut self,
        check: impl FnOnce(&ArgMatches) -> Result<Checked, String>,
    ) -> Result<Checked, SettingsError> {
        let matches = self.matches()?;
        let checked = check(&matches).map_err(SettingsError::Wrong)?;
        let read = digests(&self.command, &matches);
        let options: BTreeSet<&String> = read.keys().chain(self.first.keys()).collect();
        for option in options {
            if !self.changeable.contains(&option.as_str()) {
                if read.get(option) != self.first.get(option) {
                    tracing::warn!(option, "cannot change while the program runs: it will with the next start");
                }
            } else if read.get(option) != self.now.get(option) {
                tracing::info!(option, "changed");
            }
        }
        self.now = read;
        Ok(checked)
    }

    fn matches(&self) -> Result<ArgMatches, SettingsError> {
        let text = EnvFile::text()?;
        let pairs = EnvFile::pairs(&text)?;
        self.check_substitutions(&text, &pairs)?;
        let mut arguments: Vec<OsString> = env::args_os().collect();
        let given: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let is_given = |long: &str| {
            let is_it =
                |given: &str| given.strip_prefix("--").is_some_and(|given| given.split('=').next() == Some(long));
            given.iter().any(|given| is_it(given))
        };
        let serving = serving(&self.command).map(|serving| serving.get_name().to_owned());
        let mut command = with_secrets(self.command.clone(), &|name| self.file.variable(name, &pairs))?;
        for (is_below, argument) in options(&self.command) {
            let (Some(name), Some(long)) = (name_of(&argument), argument.get_long()) else { continue };
            if !self.file.is_free(&name) {
                continue;
            }
            // What the file says now counts, and not what it said at the start, which stands in the
            // environment.
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
        command.try_get_matches_from(arguments).map_err(|error| SettingsError::Wrong(told(&error)))
    }

    /// In the place of `${NAME}` dotenvy puts what the environment says, which is what the file
    /// said at the start.
    fn check_substitutions(&self, text: &str, pairs: &BTreeMap<String, String>) -> Result<(), SettingsError> {
        let is_used = |name: &&String| text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}"));
        let has_changed = |name: &&String| env::var_os(name) != pairs.get(*name).map(OsString::from);
        match self.file.0.iter().filter(is_used).find(has_changed) {
            None => Ok(()),
            Some(name) => Err(SettingsError::Wrong(format!(
                "{name}: stands for a part of other lines of .env, and needs a start"
            ))),
        }
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

/// Gives every secret option of a command and of those below it, that is an option whose value
/// `--help` hides, the first line of the file that `<NAME>_FILE` names, where that is set.
///
/// # Errors
///
/// Names the option that is set twice, or whose file cannot be read.
pub fn with_secrets_of_files(command: Command) -> Result<Command, SettingsError> {
    with_secrets(command, &|name| env::var_os(name))
}

fn with_secrets(mut command: Command, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Command, SettingsError> {
    let secrets = command.get_arguments().filter(|argument| argument.is_hide_env_values_set());
    let secrets: Vec<_> =
        secrets.filter_map(|argument| Some((argument.get_id().clone(), argument.get_env()?))).collect();
    let mut found = Vec::new();
    for (id, name) in secrets {
        let name = name.to_string_lossy();
        if let Some(secret) = secret_of_file(&name, variable)? {
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
            with_secrets(below.clone(), variable).unwrap_or_else(|error| {
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

fn secret_of_file(name: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<String>, SettingsError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let Some(file) = set(&format!("{name}{OF_FILE}")) else { return Ok(None) };
    if set(name).is_some() {
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
    fn of_two_equal_names_in_the_file_the_first_counts_and_a_byte_order_mark_is_ignored() {
        let pairs = EnvFile::pairs("\u{feff}ALLOWED_ADDRESSES=10.0.0.0/8\nALLOWED_ADDRESSES=\n").expect("a file");
        assert_eq!(pairs, BTreeMap::from([("ALLOWED_ADDRESSES".to_owned(), "10.0.0.0/8".to_owned())]));
        assert!(EnvFile::pairs("NAME=\"without an end\n").is_err());
    }

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
