//! Reads the literals that PostgreSQL writes for arrays and rows, piece by piece. Pure.

use std::borrow::Cow;

/// A piece of an array literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Open,
    Close,
    /// `None` is NULL.
    Element(Option<Cow<'a, str>>),
}

/// The pieces of `{1,NULL,"a\"b"}`, or `None` if it is no array literal. Lower bounds (`[0:1]={…}`) are passed over.
pub(super) fn array(text: &str, delimiter: char) -> Option<Vec<Piece<'_>>> {
    let mut rest = text;
    if rest.starts_with('[') {
        rest = rest.split_once('=')?.1;
    }
    let mut pieces = Vec::new();
    let mut depth = 0_usize;
    loop {
        let first = rest.chars().next()?;
        match first {
            '{' => {
                depth += 1;
                pieces.push(Piece::Open);
                rest = rest.get(1..)?;
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                pieces.push(Piece::Close);
                rest = rest.get(1..)?;
                if depth == 0 {
                    return rest.is_empty().then_some(pieces);
                }
            }
            c if c == delimiter => rest = rest.get(c.len_utf8()..)?,
            '"' => {
                let (element, after) = quoted(rest.get(1..)?, false)?;
                pieces.push(Piece::Element(Some(element)));
                rest = after;
            }
            _ => {
                let end = rest.find([delimiter, '}'])?;
                let (element, after) = rest.split_at_checked(end)?;
                // An unquoted element has no escapes unless somebody wrote it by hand, and then not here.
                pieces.push(Piece::Element(
                    (element != "NULL").then_some(Cow::Borrowed(element)),
                ));
                rest = after;
            }
        }
        if depth == 0 {
            return None;
        }
    }
}

/// The fields of `(1,"a ""b""",)`, or `None` if it is no row literal. An empty field is NULL.
pub(super) fn row(text: &str) -> Option<Vec<Option<Cow<'_, str>>>> {
    let mut rest = text.strip_prefix('(')?;
    let mut fields = Vec::new();
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(body) => quoted(body, true).map(|(field, after)| (Some(field), after))?,
            None => {
                let end = rest.find([',', ')'])?;
                let (field, after) = rest.split_at_checked(end)?;
                ((!field.is_empty()).then_some(Cow::Borrowed(field)), after)
            }
        };
        fields.push(field);
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None => return (after == ")").then_some(fields),
        };
    }
}

/// What stands up to the closing quote, unescaped, and what follows it. In rows a quote may be doubled.
fn quoted(text: &str, doubled: bool) -> Option<(Cow<'_, str>, &str)> {
    let plain = text.find(['"', '\\'])?;
    let ends = |at: usize| {
        text.get(at + 1..)
            .is_none_or(|after| !(doubled && after.starts_with('"')))
    };
    if text.get(plain..)?.starts_with('"') && ends(plain) {
        return Some((Cow::Borrowed(text.get(..plain)?), text.get(plain + 1..)?));
    }
    let mut unescaped = String::with_capacity(text.len().min(256));
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => unescaped.push(chars.next()?.1),
            '"' if ends(at) => return Some((Cow::Owned(unescaped), text.get(at + 1..)?)),
            '"' => unescaped.push(chars.next()?.1),
            c => unescaped.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn element(text: &str) -> Piece<'_> {
        Piece::Element(Some(Cow::Borrowed(text)))
    }

    #[test]
    fn arrays_have_nulls_quotes_and_bounds() {
        let pieces = array(r#"[0:1]={"a,b","q\"x",NULL,"NULL",""}"#, ',').unwrap();
        let expected = [
            Piece::Open,
            element("a,b"),
            element("q\"x"),
            Piece::Element(None),
            element("NULL"),
            element(""),
            Piece::Close,
        ];
        assert_eq!(pieces, expected);
        assert_eq!(array("{(1,2),(0,0);(3,4),(1,1)}", ';').unwrap().len(), 4);
        assert_eq!(array("{}", ',').unwrap(), [Piece::Open, Piece::Close]);
        assert_eq!(array("{{1},{2}}", ',').unwrap().len(), 8);
        for broken in ["", "{", "1", "{1", "{\"", "}", "{1}x", "[0:1]"] {
            assert_eq!(array(broken, ','), None, "{broken}");
        }
    }

    #[test]
    fn rows_have_nulls_and_doubled_quotes() {
        let fields = row(r#"("Main ""St"", 5",12345,,"a\\b","")"#).unwrap();
        let fields: Vec<_> = fields.iter().map(|field| field.as_deref()).collect();
        assert_eq!(
            fields,
            [
                Some("Main \"St\", 5"),
                Some("12345"),
                None,
                Some("a\\b"),
                Some("")
            ]
        );
        for broken in ["", "(", "(1", "1)", "(1)x", "(\"a)"] {
            assert_eq!(row(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[{}(),;=\"\\\\Nña1]{0,24}") {
            let _ = (array(&text, ','), array(&text, ';'), row(&text));
        }

        /// As `array_out` and `record_out` write them.
        #[test]
        fn what_is_quoted_reads_back(values in prop::collection::vec("[\"\\\\,{}()ñ a]{0,6}", 1..5)) {
            let escaped = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let text = format!("{{{}}}", values.iter().map(escaped).collect::<Vec<_>>().join(","));
            let pieces = array(&text, ',').unwrap();
            let read: Vec<_> = pieces.iter().filter_map(|piece| match piece {
                Piece::Element(Some(element)) => Some(element.as_ref()),
                _ => None,
            }).collect();
            prop_assert_eq!(read, values.iter().map(String::as_str).collect::<Vec<_>>());
            let doubled = |value: &String| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\"\""));
            let text = format!("({})", values.iter().map(doubled).collect::<Vec<_>>().join(","));
            let fields: Vec<_> = row(&text).unwrap().into_iter().map(|field| field.unwrap().into_owned()).collect();
            prop_assert_eq!(fields, values);
        }
    }
}
