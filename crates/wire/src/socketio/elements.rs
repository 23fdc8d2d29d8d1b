//! The elements of a JSON array as raw JSON, found one by one without building values.

/// Walks an array that is known to be JSON. Any other text yields some pieces of itself and no panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements<'a> {
    rest: &'a str,
}

impl<'a> Elements<'a> {
    /// What stands between the brackets.
    pub(super) fn of_list(list: &'a str) -> Self {
        Self {
            rest: list.trim_matches(WHITESPACE),
        }
    }

    /// `array` with its brackets.
    pub(super) fn of_array(array: &'a str) -> Self {
        let array = array.trim_matches(WHITESPACE);
        let inner = array.strip_prefix('[').unwrap_or(array);
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        // Once and not at every step: many blanks behind many elements would take for ever.
        Self {
            rest: inner.trim_matches(WHITESPACE),
        }
    }

    /// What is left, as it was written: raw JSON with commas between, empty when nothing is left.
    pub fn as_str(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = element_len(self.rest.as_bytes());
        let (element, after) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = after
            .strip_prefix(',')
            .unwrap_or(after)
            .trim_start_matches(WHITESPACE);
        Some(element.trim_end_matches(WHITESPACE))
    }
}

/// RFC 8259 §2.
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The bytes before the first comma that stands in no string and no bracket.
fn element_len(text: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn blanks_behind_many_elements_are_looked_at_once() {
        let array = format!("[{}1{}]", "1,".repeat(100_000), " ".repeat(100_000));
        assert_eq!(Elements::of_array(&array).count(), 100_001);
    }

    #[test]
    fn elements_are_what_stands_between_the_outer_commas() {
        let array = r#" [ "a,]\"" , {"b":[1,{"c":"}"}]},[],-1.5e3 , null ] "#;
        let wanted = [r#""a,]\"""#, r#"{"b":[1,{"c":"}"}]}"#, "[]", "-1.5e3", "null"];
        let mut elements = Elements::of_array(array);
        assert_eq!(elements.collect::<Vec<_>>(), wanted);
        elements.next();
        assert_eq!(elements.as_str(), r#"{"b":[1,{"c":"}"}]},[],-1.5e3 , null"#);
        assert_eq!(Elements::of_array("[ ]").next(), None);
        assert_eq!(Elements::of_array("").next(), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[\\[\\]{},:\"\\\\ñ ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[,\"}]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn elements_are_those_of_a_json_parser(values in vec(json(), 0..6), pretty in any::<bool>()) {
            let array = if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) };
            let array = array.expect("values are json");
            let wanted: Vec<&RawValue> = serde_json::from_str(&array).expect("an array");
            let wanted: Vec<&str> = wanted.iter().map(|raw| raw.get()).collect();
            prop_assert_eq!(Elements::of_array(&array).collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn any_text_ends(text in any::<String>()) {
            prop_assert!(Elements::of_array(&text).count() <= text.len());
        }
    }
}
