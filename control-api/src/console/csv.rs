//! Files for spreadsheets: comma-separated values (RFC 4180).

/// The file so far.
#[derive(Default)]
pub struct Csv(String);

impl Csv {
    /// Begins with the names of the columns. The mark at the start tells spreadsheets that it is
    /// UTF-8.
    pub fn new(columns: &[&str]) -> Self {
        let mut csv = Self("\u{feff}".to_owned());
        csv.line(columns.iter().map(|&column| column.to_owned()));
        csv
    }

    /// Adds a line.
    pub fn line(&mut self, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().map(|value| quoted(&value)).collect();
        self.0.push_str(&values.join(","));
        self.0.push_str("\r\n");
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

/// A value in quotes. What a spreadsheet would take for a formula is marked as text, a number is
/// none. Some spreadsheets begin a cell where no comma stands, as at a semicolon.
fn quoted(value: &str) -> String {
    let is_number = value.parse::<f64>().is_ok();
    let (mut text, mut begins) = ("\"".to_owned(), true);
    for char in value.chars() {
        if begins && !is_number && matches!(char, '=' | '+' | '-' | '@' | '\t' | '\r') {
            text.push('\'');
        }
        begins = matches!(char, ';' | ',' | '\t' | '\r' | '\n' | '"');
        text.push(char);
        if char == '"' {
            text.push(char);
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_a_formula_is_text_and_a_number_stays_one() {
        let mut csv = Csv::new(&["a"]);
        csv.line(["=1+1".to_owned(), "-5.00".to_owned(), "say \"hi\", you".to_owned(), "-x".to_owned()]);
        csv.line(["x;=1+1".to_owned(), "a\n@b".to_owned()]);
        let marked = "\"'=1+1\",\"-5.00\",\"say \"\"hi\"\", you\",\"'-x\"\r\n\"x;'=1+1\",\"a\n'@b\"\r\n";
        assert_eq!(csv.into_text(), format!("\u{feff}\"a\"\r\n{marked}"));
    }
}
