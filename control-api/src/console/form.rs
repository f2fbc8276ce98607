//! What a form or a query holds, as it was typed, and what is wrong with it.

use serde_json::Value;

use super::text;
use crate::input::Scalar;
use shared::web::language::Language;

/// The fields of a form or a query, by name, in their order.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// Sets a field, for a form that is shown the first time.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// As a query has them.
    pub fn encoded(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// What was typed, less the space around it; nothing if there is no such field.
    pub fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// What was typed to the last space, as a password is.
    pub fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Whether a box was ticked or a button of this name pressed.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A number, if one was given.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// The value of a field as the API reads it, or a fault for this field.
    pub fn read<S: Scalar>(&self, name: &'static str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
        self.check(name, self.text(name), lang, errors)
    }

    /// The same of a password, which may begin or end with a space.
    pub fn read_raw<S: Scalar>(&self, name: &'static str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
        self.check(name, self.raw(name), lang, errors)
    }

    /// The same of an amount, as people write it in either language.
    pub fn read_amount<S: Scalar>(&self, name: &'static str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
        let typed = self.text(name).replace(',', ".").replace(char::is_whitespace, "");
        self.check(name, &typed, lang, errors)
    }

    fn check<S: Scalar>(&self, name: &'static str, text: &str, lang: Language, errors: &mut FieldErrors) -> Option<S> {
        match S::read(Value::String(text.to_owned())) {
            Ok(value) => Some(value),
            Err(fault) => {
                errors.add(name, text::fault(lang, fault));
                None
            }
        }
    }
}

/// What is wrong with a form: a sentence for each field.
#[derive(Clone, Default)]
pub struct FieldErrors(Vec<(&'static str, String)>);

impl FieldErrors {
    pub fn add(&mut self, field: &'static str, sentence: impl Into<String>) {
        self.0.push((field, sentence.into()));
    }

    /// What is wrong with a field.
    pub fn of(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == field).map(|(_, sentence)| sentence.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
