//! Named parameters: turns `:name` in a user's SQL into what the server understands. Pure.
//!
//! A parameter is a colon followed by an identifier (dots allowed inside), outside of strings, quoted identifiers, comments,
//! dollar quotes, `::casts`, `:=` and array slices such as `a[1:n]`.

/// A user's SQL, cut at its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSql {
    /// Text before each parameter and its index in `names`.
    pieces: Vec<(String, usize)>,
    tail: String,
    names: Vec<String>,
    oddity: Option<SqlError>,
}

/// Why a text cannot be used where one SELECT is wanted.
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
    #[error("`$1` and the like are numbered parameters; use names such as `:id`")]
    Numbered,
}

impl NamedSql {
    /// Cuts a text that must be one SELECT with named parameters; a semicolon at its end is dropped.
    pub fn select(sql: &str) -> Result<Self, SqlError> {
        let first = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
        let word = first
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap_or_default();
        if first.is_empty() {
            return Err(SqlError::Empty);
        }
        if !["select", "with"]
            .iter()
            .any(|start| word.eq_ignore_ascii_case(start))
        {
            return Err(SqlError::NotSelect);
        }
        let parsed = Self::parse(sql);
        match parsed.oddity {
            Some(oddity) => Err(oddity),
            None => Ok(parsed),
        }
    }

    /// Cuts the text. Anything is accepted: the server judges the SQL.
    pub fn parse(sql: &str) -> Self {
        let sql = sql.trim().trim_end_matches(';').trim_end();
        let mut parsed = Self {
            pieces: Vec::new(),
            tail: String::new(),
            names: Vec::new(),
            oddity: None,
        };
        let mut done = 0;
        let mut at = 0;
        while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
            let before = sql.get(..at).and_then(|text| text.chars().next_back());
            match skip_quoted(rest, before) {
                Skip::Nothing => {}
                Skip::Closed(length) => {
                    at += length;
                    continue;
                }
                Skip::Open => {
                    parsed.oddity.get_or_insert(SqlError::Unclosed);
                    break;
                }
            }
            if let Some(oddity) = oddity(rest) {
                parsed.oddity.get_or_insert(oddity);
            }
            if let Some(name) = parameter(rest, before) {
                let index = parsed.index_of(name);
                parsed
                    .pieces
                    .push((sql.get(done..at).unwrap_or_default().to_owned(), index));
                at += 1 + name.len();
                done = at;
                continue;
            }
            // `::` is passed over as one, so that its second colon starts nothing.
            at += if rest.starts_with("::") {
                2
            } else {
                rest.chars().next().map_or(1, char::len_utf8)
            };
        }
        sql.get(done..).unwrap_or_default().clone_into(&mut parsed.tail);
        parsed
    }

    /// The distinct names, in order of appearance.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The SQL with `$1`, `$2`… for the names in order.
    pub fn numbered(&self) -> String {
        self.render(|index| format!("${}", index + 1))
    }

    /// The SQL with whatever stands for the name of that index.
    pub(crate) fn render(&self, replace: impl Fn(usize) -> String) -> String {
        let mut sql = String::new();
        for (text, index) in &self.pieces {
            sql.push_str(text);
            sql.push_str(&replace(*index));
        }
        sql.push_str(&self.tail);
        sql
    }

    fn index_of(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.iter().position(|known| known == name) {
            return index;
        }
        self.names.push(name.to_owned());
        self.names.len() - 1
    }
}

fn is_ident_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name if a parameter starts here. After an identifier, a number or a closing bracket a colon is an array slice.
fn parameter(rest: &str, before: Option<char>) -> Option<&str> {
    if before.is_some_and(|c| is_ident(c) || matches!(c, ':' | ']' | ')' | '"' | '\'' | '$')) {
        return None;
    }
    let body = rest.strip_prefix(':')?;
    if !body.starts_with(is_ident_start) {
        return None;
    }
    let mut end = 0;
    let mut chars = body.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        let dot_inside = c == '.' && chars.peek().is_some_and(|(_, next)| is_ident_start(*next));
        if !is_ident(c) && !dot_inside {
            break;
        }
        end = index + c.len_utf8();
    }
    body.get(..end)
}

/// What one SELECT with named parameters does not have.
fn oddity(rest: &str) -> Option<SqlError> {
    let mut chars = rest.chars();
    match (chars.next(), chars.next()) {
        (Some(';'), _) => Some(SqlError::Several),
        (Some('$'), Some(c)) if c.is_ascii_digit() => Some(SqlError::Numbered),
        _ => None,
    }
}

/// The string, quoted identifier, comment or dollar quote that starts here.
enum Skip {
    Nothing,
    Closed(usize),
    /// It never ends.
    Open,
}

impl Skip {
    fn to(end: Option<usize>) -> Self {
        end.map_or(Self::Open, Self::Closed)
    }
}

fn skip_quoted(rest: &str, before: Option<char>) -> Skip {
    if rest.starts_with('\'') {
        return Skip::to(quoted(rest, '\'', before.is_some_and(|c| matches!(c, 'e' | 'E'))));
    }
    if rest.starts_with('"') {
        return Skip::to(quoted(rest, '"', false));
    }
    if rest.starts_with("--") {
        return Skip::Closed(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Skip::to(block_comment(rest));
    }
    if rest.starts_with('$') && !before.is_some_and(is_ident) {
        return dollar_quote(rest);
    }
    Skip::Nothing
}

fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(index + c.len_utf8());
        }
    }
    None
}

/// Block comments nest in PostgreSQL.
fn block_comment(rest: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(text) = rest.get(at..).filter(|text| !text.is_empty()) {
        if text.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += text.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

fn dollar_quote(rest: &str) -> Skip {
    let tag = rest
        .get(1..)
        .and_then(|body| body.find('$'))
        .and_then(|close| rest.get(..close + 2));
    let Some(tag) = tag else { return Skip::Nothing };
    let name = tag.trim_matches('$');
    if name.starts_with(|c: char| c.is_numeric()) || !name.chars().all(is_ident) {
        return Skip::Nothing;
    }
    let end = rest.get(tag.len()..).and_then(|body| body.find(tag));
    Skip::to(end.map(|end| tag.len() + end + tag.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn numbered(sql: &str) -> String {
        NamedSql::parse(sql).numbered()
    }

    #[test]
    fn names_become_numbers() {
        let sql = NamedSql::parse("SELECT nombre FROM m WHERE id = :id_miembro AND (a=:b OR c=:id_miembro);");
        assert_eq!(
            sql.numbered(),
            "SELECT nombre FROM m WHERE id = $1 AND (a=$2 OR c=$1)"
        );
        assert_eq!(sql.names(), ["id_miembro", "b"]);
        assert_eq!(NamedSql::parse("SELECT :claims.sub.").names(), ["claims.sub"]);
    }

    #[test]
    fn what_is_no_parameter_stays() {
        for sql in [
            "SELECT ':a', \":a\", x::text, a[1:n], a[lo:hi], a[:2]",
            "SELECT 'it''s :a' -- :a\n, /* :a /* :a */ :a */ 1",
            r"SELECT E'\':a', $$ :a $$, $tag$ :a $$ :a $tag$",
            "SELECT f(x := 1), a::\"b\", '{\"k\":1}'::jsonb",
            "SELECT 'open :a",
            "SELECT $q$ open :a",
        ] {
            assert_eq!(numbered(sql), sql);
        }
        assert_eq!(numbered(r"SELECT '\' , :a"), r"SELECT '\' , $1");
        assert_eq!(numbered("SELECT :a::int"), "SELECT $1::int");
        assert_eq!(numbered("SELECT :año"), "SELECT $1");
    }

    #[test]
    fn only_one_select_is_taken() {
        let error = |text| NamedSql::select(text).unwrap_err();
        assert_eq!(error(" ; "), SqlError::Empty);
        assert_eq!(error("DELETE FROM t"), SqlError::NotSelect);
        assert_eq!(error("SELECT 1; SELECT 2"), SqlError::Several);
        assert_eq!(error("SELECT 'a"), SqlError::Unclosed);
        assert_eq!(error("SELECT /* a"), SqlError::Unclosed);
        assert_eq!(error("SELECT $a$ x"), SqlError::Unclosed);
        assert_eq!(error("SELECT $12"), SqlError::Numbered);
        let query = NamedSql::select("WITH q AS (SELECT ';') SELECT :a.b FROM q WHERE año = :año ;").unwrap();
        assert_eq!(
            query.numbered(),
            "WITH q AS (SELECT ';') SELECT $1 FROM q WHERE año = $2"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_loss(sql in "[a-z:'\"$/*\\- .\\\\ñ\\[\\]\n]{0,80}") {
            let parsed = NamedSql::parse(&sql);
            let whole = parsed.render(|index| format!(":{}", parsed.names[index]));
            prop_assert_eq!(whole, sql.trim().trim_end_matches(';').trim_end());
        }
    }
}
