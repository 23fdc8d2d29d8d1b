//! Named parameters in SQL: `:id_miembro`, `:channel.id`, `:claims.sub` become `$1`, `$2`, …
//!
//! Quoted texts, quoted names, dollar quotes, comments and casts (`::int`) are left alone. A name that appears twice is one parameter.

/// Why a text cannot be used as a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    #[error("the query is empty")]
    Empty,
    #[error("the query must be one SELECT (or WITH … SELECT)")]
    NotSelect,
    #[error("the query has more than one statement")]
    Several,
    #[error("a quote, comment or dollar quote is never closed")]
    Unclosed,
    #[error("`${0}` is a numbered parameter; use names such as `:id`")]
    Numbered(u32),
}

/// A query with numbered parameters and the names that belong to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSql {
    /// The query as it was written.
    pub source: String,
    /// The query with `$1`, `$2`, …
    pub sql: String,
    /// `names[0]` is the name of `$1`.
    pub names: Vec<String>,
}

impl NamedSql {
    /// Reads one SELECT; a semicolon at its end is dropped.
    pub fn parse(source: &str) -> Result<Self, SqlError> {
        let source = source.trim().trim_end_matches(';').trim_end();
        let first = source
            .trim_start_matches('(')
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap_or("");
        match first.to_ascii_lowercase().as_str() {
            "" if source.is_empty() => return Err(SqlError::Empty),
            "select" | "with" => {}
            _ => return Err(SqlError::NotSelect),
        }
        let mut scan = Scan {
            source,
            at: 0,
            out: Self {
                source: source.to_owned(),
                sql: String::with_capacity(source.len()),
                names: Vec::new(),
            },
        };
        while scan.at < source.len() {
            scan.step()?;
        }
        Ok(scan.out)
    }
}

struct Scan<'s> {
    source: &'s str,
    at: usize,
    out: NamedSql,
}

impl Scan<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.at..).unwrap_or("")
    }

    /// Copies `len` bytes as they are.
    fn copy(&mut self, len: usize) {
        let end = self.source.len().min(self.at + len);
        self.out.sql.push_str(self.source.get(self.at..end).unwrap_or(""));
        self.at = end;
    }

    fn step(&mut self) -> Result<(), SqlError> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
        match (first, second) {
            (';', _) => return Err(SqlError::Several),
            ('\'', _) => self.copy(quoted(rest, '\'', self.escapes())?),
            ('"', _) => self.copy(quoted(rest, '"', false)?),
            ('-', '-') => self.copy(rest.find('\n').unwrap_or(rest.len())),
            ('/', '*') => self.copy(comment(rest)?),
            ('$', c) if c.is_ascii_digit() => return Err(SqlError::Numbered(number(rest))),
            ('$', _) => self.copy(dollar(rest)?),
            (':', ':') => self.copy(2),
            (':', c) if is_start(c) => self.parameter(),
            (c, _) if is_start(c) => self.copy(rest.find(|c: char| !is_inner(c)).unwrap_or(rest.len())),
            (c, _) => self.copy(c.len_utf8()),
        }
        Ok(())
    }

    /// Whether the quote here belongs to an `E'…'` text, where a backslash escapes.
    fn escapes(&self) -> bool {
        let mut before = self.source.get(..self.at).unwrap_or("").chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_inner)
    }

    fn parameter(&mut self) {
        let rest = self.rest();
        let body = rest.get(1..).unwrap_or("");
        let mut len = body.find(|c: char| !is_inner(c)).unwrap_or(body.len());
        while let Some(tail) = body.get(len..).and_then(|tail| tail.strip_prefix('.')) {
            if !tail.chars().next().is_some_and(is_start) {
                break;
            }
            len += 1 + tail.find(|c: char| !is_inner(c)).unwrap_or(tail.len());
        }
        let name = body.get(..len).unwrap_or("").to_owned();
        self.at += 1 + len;
        let index = self
            .out
            .names
            .iter()
            .position(|known| *known == name)
            .unwrap_or_else(|| {
                self.out.names.push(name);
                self.out.names.len() - 1
            });
        self.out.sql.push_str(&format!("${}", index + 1));
    }
}

fn is_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_inner(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Length of a quoted text; a doubled quote stays inside.
fn quoted(rest: &str, quote: char, escapes: bool) -> Result<usize, SqlError> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.peek().is_none_or(|(_, next)| *next != quote) {
            return Ok(at + 1);
        }
        if c == quote || (escapes && c == '\\') {
            chars.next();
        }
    }
    Err(SqlError::Unclosed)
}

/// Length of a block comment; they nest.
fn comment(rest: &str) -> Result<usize, SqlError> {
    let mut depth = 0usize;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, chars.peek().map(|(_, next)| *next)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth = depth.saturating_sub(1),
            _ => continue,
        }
        chars.next();
        if depth == 0 {
            return Ok(at + 2);
        }
    }
    Err(SqlError::Unclosed)
}

/// Length of `$tag$…$tag$`, or of a lone dollar sign.
fn dollar(rest: &str) -> Result<usize, SqlError> {
    let body = rest.get(1..).unwrap_or("");
    let tag = body.find('$').filter(|end| {
        body.get(..*end)
            .is_some_and(|tag| tag.chars().all(|c| c.is_alphanumeric() || c == '_'))
    });
    let Some(tag) = tag.map(|end| end + 2) else {
        return Ok(1);
    };
    let (open, tail) = rest.split_at_checked(tag).ok_or(SqlError::Unclosed)?;
    tail.find(open).map(|at| at + 2 * tag).ok_or(SqlError::Unclosed)
}

fn number(rest: &str) -> u32 {
    let digits = rest.get(1..).unwrap_or("");
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits
        .get(..end)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_numbers_and_repeat() {
        let parsed = NamedSql::parse(
            "SELECT :a.b = x::int, :id, :a.b FROM t WHERE y = ':no' AND \":no\" = E'\\':no' ;",
        )
        .unwrap();
        assert_eq!(
            parsed.sql,
            "SELECT $1 = x::int, $2, $1 FROM t WHERE y = ':no' AND \":no\" = E'\\':no'"
        );
        assert_eq!(parsed.names, ["a.b", "id"]);
    }

    #[test]
    fn comments_and_dollar_quotes_are_left_alone() {
        let text = "WITH q AS (SELECT 1) -- :no ; '\nSELECT $x$ :no; $x$, $$:no$$ /* :no /* ; */ */ FROM q WHERE año=:año";
        let parsed = NamedSql::parse(text).unwrap();
        assert_eq!(parsed.sql, text.replace(":año", "$1"));
        assert_eq!(parsed.names, ["año"]);
    }

    #[test]
    fn only_one_select_is_taken() {
        let error = |text| NamedSql::parse(text).unwrap_err();
        assert_eq!(error(" ; "), SqlError::Empty);
        assert_eq!(error("DELETE FROM t"), SqlError::NotSelect);
        assert_eq!(error("SELECT 1; SELECT 2"), SqlError::Several);
        assert_eq!(error("SELECT 'a"), SqlError::Unclosed);
        assert_eq!(error("SELECT /* a"), SqlError::Unclosed);
        assert_eq!(error("SELECT $a$ x"), SqlError::Unclosed);
        assert_eq!(error("SELECT $12"), SqlError::Numbered(12));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(SELECT )?[a-z':\"$*/;.\\- é1-9\n]*") {
            let _ = NamedSql::parse(&text);
        }
    }
}
