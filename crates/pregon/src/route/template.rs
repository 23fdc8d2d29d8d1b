//! Templates (`conversation_{conversation_id}`) that render channel and event names, and patterns that recognise what they render.
//!
//! One syntax for rows, claims and the names of `[[channel]]` sections. Pure; a value that is missing, null or empty never
//! renders, so that `user_{sub}` without a `sub` is nobody's channel and never `user_`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Where values lie in a name, in bytes.
pub(crate) type Spans = SmallVec<[Range<usize>; 4]>;

/// Why a text is no template or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the template is empty")]
    Empty,
    #[error("`{{` at character {0} is never closed; write `{{{{` for a brace")]
    Unclosed(usize),
    #[error("`}}` at character {0} closes nothing; write `}}}}` for a brace")]
    Unopened(usize),
    #[error("`{{{0}}}` is not a name; use a column or a path such as `claims.sub`")]
    BadName(String),
    #[error("`{{{0}}}` and `{{{1}}}` touch, so where one ends is unknown; put a text between them")]
    Touching(String, String),
    #[error("`{{{0}}}` appears twice")]
    Twice(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Hole(Box<str>),
}

/// A text with holes for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    source: Box<str>,
    parts: Box<[Part]>,
}

impl Template {
    /// Reads a template; `{{` and `}}` stand for braces.
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = source.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            let doubled = chars.peek().is_some_and(|(_, next)| *next == c);
            match c {
                '{' | '}' if doubled => {
                    chars.next();
                    text.push(c);
                }
                '{' => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text).into()));
                    }
                    parts.push(Part::Hole(hole(&mut chars, at)?));
                }
                '}' => return Err(TemplateError::Unopened(at + 1)),
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self {
            source: source.into(),
            parts: parts.into(),
        })
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The names in the holes, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The text, if the template has no holes.
    pub(crate) fn constant(&self) -> Option<String> {
        self.render(&|_| None)
    }

    /// Whether it is one hole and nothing else.
    pub(crate) fn is_lone(&self) -> bool {
        matches!(&*self.parts, [Part::Hole(_)])
    }

    /// Fails where two holes touch.
    pub(crate) fn separated(&self) -> Result<(), TemplateError> {
        for pair in self.parts.windows(2) {
            if let [Part::Hole(a), Part::Hole(b)] = pair {
                return Err(TemplateError::Touching(a.to_string(), b.to_string()));
            }
        }
        Ok(())
    }

    /// Fills the holes; `None` when a value is missing or empty.
    pub(crate) fn render<'v>(&self, value: &dyn Fn(&str) -> Option<Cow<'v, str>>) -> Option<String> {
        self.fill(value, &mut |_| {})
    }

    /// As [`Template::render`], with the places of the values.
    pub(crate) fn render_spans<'v>(
        &self,
        value: &dyn Fn(&str) -> Option<Cow<'v, str>>,
    ) -> Option<(String, Spans)> {
        let mut spans = Spans::new();
        let name = self.fill(value, &mut |span| spans.push(span))?;
        Some((name, spans))
    }

    fn fill<'v>(
        &self,
        value: &dyn Fn(&str) -> Option<Cow<'v, str>>,
        filled: &mut dyn FnMut(Range<usize>),
    ) -> Option<String> {
        let mut out = String::with_capacity(self.source.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(name) => {
                    let start = out.len();
                    out.push_str(&value(name).filter(|value| !value.is_empty())?);
                    filled(start..out.len());
                }
            }
        }
        Some(out)
    }

    /// What recognises every name that this template can render.
    pub(crate) fn pattern(&self) -> Pattern {
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => pieces.push(Piece {
                    name: None,
                    text: text.clone(),
                }),
                // Holes that touch match like one: together they are at least one character.
                Part::Hole(_) if pieces.last().is_some_and(|last| last.name.is_some()) => {}
                Part::Hole(name) => pieces.push(Piece {
                    name: Some(name.clone()),
                    text: "".into(),
                }),
            }
        }
        Pattern {
            pieces: pieces.into(),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Reads the name in a hole up to its brace.
fn hole(chars: &mut impl Iterator<Item = (usize, char)>, open: usize) -> Result<Box<str>, TemplateError> {
    let mut name = String::new();
    for (_, c) in chars {
        match c {
            '}' if is_path(&name) => return Ok(name.into()),
            '}' | '{' => return Err(TemplateError::BadName(name)),
            other => name.push(other),
        }
    }
    Err(TemplateError::Unclosed(open + 1))
}

fn is_path(name: &str) -> bool {
    let segment = |s: &str| !s.is_empty() && s.trim() == s && !s.chars().any(char::is_control);
    name.split('.').all(segment)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    /// The capture's name; `None` for a literal text.
    name: Option<Box<str>>,
    text: Box<str>,
}

/// A name with captures: `conversation_{id}` matches `conversation_42` with `id` = `42`.
///
/// A capture takes at least one character and ends where the following text first appears; so the answer is always the same one.
/// Gap entries of the log carry patterns in this form (JSON): other names of fields would be another version of its format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pieces: Box<[Piece]>,
}

impl Pattern {
    /// Reads the name of a `[[channel]]`: like a template, but captures are told apart by the text between them.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(source)?;
        template.separated()?;
        let names: Vec<&str> = template.names().collect();
        for (index, name) in names.iter().enumerate() {
            if names.iter().skip(index + 1).any(|other| other == name) {
                return Err(TemplateError::Twice(name.to_string()));
            }
            if name.contains('.') {
                return Err(TemplateError::BadName(name.to_string()));
            }
        }
        Ok(template.pattern())
    }

    /// The names of the captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| piece.name.as_deref())
    }

    /// The captured values if the whole channel name fits.
    pub fn matches<'p, 'c>(&'p self, channel: &'c str) -> Option<Vec<(&'p str, &'c str)>> {
        let mut captured = Vec::new();
        self.walk(channel, &mut |name, value, _| captured.push((name, value)))
            .then_some(captured)
    }

    /// Where the captures lie if the whole channel name fits.
    pub fn spans(&self, channel: &str) -> Option<Spans> {
        let mut spans = Spans::new();
        self.walk(channel, &mut |_, value, start| {
            spans.push(start..start + value.len())
        })
        .then_some(spans)
    }

    /// Whether both have the same texts around their captures, whatever these are called.
    pub fn is_like(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Piece, &Piece)| a.name.is_some() == b.name.is_some() && a.text == b.text;
        self.pieces.len() == other.pieces.len() && self.pieces.iter().zip(&other.pieces).all(alike)
    }

    /// Whether a name can begin and end as both say. If not, no name fits both.
    pub fn may_meet(&self, other: &Self) -> bool {
        let ((begin, end), (other_begin, other_end)) = (self.ends(), other.ends());
        let begins = begin.starts_with(other_begin) || other_begin.starts_with(begin);
        begins && (end.ends_with(other_end) || other_end.ends_with(end))
    }

    /// Whether the whole channel name fits; captures nothing.
    pub fn is_match(&self, channel: &str) -> bool {
        self.walk(channel, &mut |_, _, _| {})
    }

    /// The texts at both ends; empty where a capture stands.
    fn ends(&self) -> (&str, &str) {
        fn text(piece: Option<&Piece>) -> &str {
            piece
                .filter(|piece| piece.name.is_none())
                .map_or("", |piece| &*piece.text)
        }
        (text(self.pieces.first()), text(self.pieces.last()))
    }

    fn walk<'p, 'c>(&'p self, channel: &'c str, found: &mut dyn FnMut(&'p str, &'c str, usize)) -> bool {
        let mut rest = channel;
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            let Some(name) = piece.name.as_deref() else {
                let Some(after) = rest.strip_prefix(&*piece.text) else {
                    return false;
                };
                rest = after;
                continue;
            };
            let end = match pieces.peek() {
                None => Some(rest.len()).filter(|len| *len > 0),
                Some(next) => capture_end(rest, &next.text, pieces.len() == 1),
            };
            let Some((value, after)) = end.and_then(|end| rest.split_at_checked(end)) else {
                return false;
            };
            found(name, value, channel.len() - rest.len());
            rest = after;
        }
        rest.is_empty()
    }
}

/// Where a capture ends that is followed by `text`: at its first appearance, or at the end of the name if it is the last piece.
fn capture_end(rest: &str, text: &str, last: bool) -> Option<usize> {
    let skip = rest.chars().next()?.len_utf8();
    let tail = rest.get(skip..)?;
    if last {
        tail.strip_suffix(text).map(|head| head.len() + skip)
    } else {
        tail.find(text).map(|at| at + skip)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn with<'v>(pairs: &'v [(&'v str, &'v str)]) -> impl Fn(&str) -> Option<Cow<'v, str>> {
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| Cow::Borrowed(*value))
        }
    }

    #[test]
    fn holes_are_filled_and_braces_escaped() {
        let template = Template::parse("a_{x}_{claims.sub}{{y}}").unwrap();
        assert_eq!(
            template
                .render(&with(&[("x", "1"), ("claims.sub", "ñ")]))
                .as_deref(),
            Some("a_1_ñ{y}")
        );
        assert_eq!(template.names().collect::<Vec<_>>(), ["x", "claims.sub"]);
        assert_eq!(
            Template::parse("ventas").unwrap().constant().as_deref(),
            Some("ventas")
        );
        assert_eq!(template.constant(), None);
    }

    #[test]
    fn a_missing_or_empty_value_addresses_nobody() {
        let template = Template::parse("user_{sub}").unwrap();
        assert_eq!(template.render(&with(&[])), None);
        assert_eq!(template.render(&with(&[("sub", "")])), None);
    }

    #[test]
    fn what_is_no_template_says_why() {
        let error = |text| Template::parse(text).unwrap_err();
        assert_eq!(error(""), TemplateError::Empty);
        assert_eq!(error("ab{c"), TemplateError::Unclosed(3));
        assert_eq!(error("ab}c"), TemplateError::Unopened(3));
        assert_eq!(error("{}"), TemplateError::BadName(String::new()));
        assert_eq!(error("{a b .c}"), TemplateError::BadName("a b .c".into()));
        assert_eq!(error("{a{b}}"), TemplateError::BadName("a".into()));
        assert_eq!(
            Pattern::parse("{a}{b}").unwrap_err(),
            TemplateError::Touching("a".into(), "b".into())
        );
        assert_eq!(
            Pattern::parse("{a}-{a}").unwrap_err(),
            TemplateError::Twice("a".into())
        );
        assert_eq!(
            error("{a").to_string(),
            "`{` at character 1 is never closed; write `{{` for a brace"
        );
    }

    #[test]
    fn patterns_capture_the_shortest_and_the_whole_name() {
        let pattern = Pattern::parse("room_{a}_{b}.x").unwrap();
        assert_eq!(
            pattern.matches("room_1_2_3.x").unwrap(),
            [("a", "1"), ("b", "2_3")]
        );
        assert_eq!(
            pattern.matches("room_1_2.x.x").unwrap(),
            [("a", "1"), ("b", "2.x")]
        );
        for no in [
            "room_1.x",
            "room__2.x",
            "room_1_.x",
            "room_1_2.xx",
            "xroom_1_2.x",
            "",
            "room_",
        ] {
            assert_eq!(pattern.matches(no), None, "{no}");
        }
        assert!(Pattern::parse("ventas").unwrap().is_match("ventas"));
        assert!(!Pattern::parse("ventas").unwrap().is_match("ventas2"));
        assert!(!Pattern::parse("u_{id}").unwrap().is_match("u_"));
        assert!(Template::parse("{a}{b}").unwrap().pattern().is_match("xy"));
    }

    proptest! {
        #[test]
        fn a_pattern_recognises_what_its_template_renders(
            texts in prop::collection::vec("[a-c_{}é]{0,3}", 1..4),
            values in prop::collection::vec("[a-c_{}é]{1,4}", 3),
        ) {
            let mut source = String::from("p");
            for (index, text) in texts.iter().enumerate() {
                source.push_str(&text.replace('{', "{{").replace('}', "}}"));
                source.push_str(&format!("{{h{index}}}"));
            }
            let template = Template::parse(&source).unwrap();
            let rendered = template.render(&|name| name[1..].parse::<usize>().ok().map(|i| Cow::Borrowed(values[i].as_str()))).unwrap();
            prop_assert!(template.pattern().is_match(&rendered), "{} as {}", source, rendered);
            if let Ok(pattern) = Pattern::parse(&source) {
                let captured = pattern.matches(&rendered).unwrap();
                let again = template.render(&|name| captured.iter().find(|(n, _)| *n == name).map(|(_, v)| Cow::Borrowed(*v))).unwrap();
                prop_assert_eq!(again, rendered);
            }
        }

        #[test]
        fn parsing_and_matching_never_panic(text in ".*", channel in ".*") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.pattern().matches(&channel);
            }
            let _ = Pattern::parse(&text).map(|pattern| pattern.is_match(&channel));
        }
    }
}
