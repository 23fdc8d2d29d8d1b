//! What went wrong in the database, told without values.
//!
//! PostgreSQL's messages quote values of rows and parameters, and functions raise whatever they like under any code. What is shown to those
//! who read logs and `/readyz` is therefore the SQLSTATE and what it means; the message is for lines of debug and for what stands beside the
//! row in its own database.

use std::collections::HashSet;
use std::fmt;

/// What went wrong with a row. `Display` tells no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    told: String,
    /// The whole, where that tells more.
    whole: Option<String>,
}

impl Fault {
    /// Something of which one text may be shown, and the whole may not.
    pub(crate) fn new(told: impl Into<String>, whole: impl Into<String>) -> Self {
        Self {
            told: told.into(),
            whole: Some(whole.into()),
        }
    }

    /// What SQL of ours wrote about an error: the code and the message. Whoever may notify can write such a text as well, so that nothing of
    /// one without a code is shown.
    pub fn coded(text: &str) -> Self {
        let told = match text.split_once(' ') {
            Some((code, _)) if is_code(code) => code_told(code),
            _ => "an error without a code".to_owned(),
        };
        Self::new(told, text)
    }

    /// What was wrong in all words, values of the row included.
    pub fn whole(&self) -> &str {
        self.whole.as_deref().unwrap_or(&self.told)
    }

    /// The same with those of these names that stand in the message. They have to be names of the configuration, so that they are no secrets.
    pub fn naming<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> String {
        let Some(whole) = &self.whole else {
            return self.told.clone();
        };
        let words: HashSet<&str> = whole
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .collect();
        let mut named: Vec<&str> = Vec::new();
        for name in names {
            if words.contains(name) && !named.contains(&name) {
                named.push(name);
            }
        }
        if named.is_empty() {
            return self.told.clone();
        }
        format!("{}: {}", self.told, named.join(", "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

/// A text of ours that quotes no values.
impl From<String> for Fault {
    fn from(told: String) -> Self {
        Self { told, whole: None }
    }
}

impl From<&str> for Fault {
    fn from(told: &str) -> Self {
        told.to_owned().into()
    }
}

/// What to do about a reason: the first piece of advice whose words it contains.
pub(crate) fn advised<const N: usize>(reason: &str, advice: [(&str, String); N]) -> String {
    let found = advice.into_iter().find(|(words, _)| reason.contains(words));
    found.map_or_else(
        || {
            "take that change back, or run `pregon db drop` and `pregon db apply`: clients are told of a gap"
                .to_owned()
        },
        |(_, advice)| advice,
    )
}

fn is_code(text: &str) -> bool {
    text.len() == 5
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// A code with its meaning.
pub(crate) fn code_told(code: &str) -> String {
    format!("{}, SQLSTATE {code}", meaning(code))
}

/// What a SQLSTATE means: the words of those that a wrong configuration or a changed table leads to, then of its class.
fn meaning(code: &str) -> &'static str {
    match code {
        "22P02" | "22007" => "a value does not have the form of its type",
        "22003" | "22008" => "a value is out of range",
        "22012" => "a division by zero",
        "23502" => "a value is missing",
        "23503" => "a row that is referred to is missing",
        "23505" => "a key is there twice",
        "42501" => "a right is missing",
        "42601" => "the SQL has a syntax error",
        "42703" => "a column is missing",
        "42704" | "3F000" => "an object is missing",
        "42883" => "a function or an operator for these types is missing",
        "42P01" => "a table is missing",
        "P0001" => "a function has raised it",
        code => match code.get(..2) {
            Some("08") => "the connection broke",
            Some("22") => "a value does not fit",
            Some("23") => "a constraint does not hold",
            Some("25") => "the transaction does not allow it",
            Some("28") => "the login is refused",
            Some("40") => "another transaction was in the way",
            Some("42") => "a name or a type does not fit",
            Some("53") => "the server lacks something",
            Some("54") => "a limit of the server is exceeded",
            Some("55") => "an object is in use or not in the state for it",
            Some("57") => "somebody has interrupted it",
            Some("58" | "XX") => "the server has an error of its own",
            Some("P0") => "a function has failed",
            _ => "an error of the server",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_tells_its_code_and_no_value() {
        let fault = Fault::coded("22P02 invalid input syntax for type integer: \"secreto\"");
        assert_eq!(
            fault.to_string(),
            "a value does not have the form of its type, SQLSTATE 22P02"
        );
        assert!(fault.whole().contains("secreto"));
        for forged in ["secreto", "secreto es", "22p02 secreto", "", "22P02secreto x"] {
            assert_eq!(
                Fault::coded(forged).to_string(),
                "an error without a code",
                "{forged}"
            );
        }
    }

    #[test]
    fn names_of_the_configuration_are_told() {
        let fault = Fault::coded("42703 record \"new\" has no field \"estado\"");
        assert_eq!(
            fault.naming(["id", "estado", "new_one", "estado"]),
            "a column is missing, SQLSTATE 42703: estado"
        );
        assert_eq!(fault.naming(["id"]), fault.to_string());
        assert_eq!(Fault::from("\"id\" is ours").naming(["id"]), "\"id\" is ours");
    }
}
