//! Where the options of the two programs come from beside the command line and the environment, and what is set there in vain.

use std::{
    collections::BTreeSet,
    env::{self, VarError},
    fs, io,
};

use clap::Command;

/// Every option of the two programs, one `NAME=` a line, which a test keeps so.
const EXAMPLE: &str = include_str!("../../.env.example");
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
