//! Patterns of channels as Redis matches them, for the question which subscription a message belongs to.
//!
//! Not a general glob: the oddities (an unclosed class, a `\` at the end, ranges backwards) are those of Redis, because a
//! different answer here would lose or double a message. A property test compares it with a real server.

/// A compiled pattern over bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Literal(u8),
    Class {
        not: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Glob {
    pub(super) fn new(pattern: &[u8]) -> Self {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            let token = match first {
                b'*' if tokens.last() == Some(&Token::Any) => continue,
                b'*' => Token::Any,
                b'?' => Token::One,
                b'[' => class(&mut rest),
                b'\\' => match after {
                    [escaped, after @ ..] => {
                        rest = after;
                        Token::Literal(*escaped)
                    }
                    [] => Token::Literal(b'\\'),
                },
                other => Token::Literal(*other),
            };
            tokens.push(token);
        }
        Self(tokens)
    }

    /// Linear in the pattern for each byte: only the last `*` is ever tried again.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut again: Option<(usize, usize)> = None;
        while let Some(&byte) = text.get(at) {
            match self.0.get(token) {
                Some(Token::Any) => {
                    token += 1;
                    again = Some((token, at));
                }
                Some(one) if one.takes(byte) => (token, at) = (token + 1, at + 1),
                _ => {
                    let Some((after_star, from)) = again else {
                        return false;
                    };
                    again = Some((after_star, from + 1));
                    (token, at) = (after_star, from + 1);
                }
            }
        }
        let mut rest = self.0.iter().skip(token);
        rest.all(|token| *token == Token::Any)
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Literal(own) => *own == byte,
            Self::Class { not, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *not
            }
        }
    }
}

/// Reads a class behind its `[`; one that is never closed ends with the pattern.
fn class(rest: &mut &[u8]) -> Token {
    let not = match rest {
        [b'^', after @ ..] => {
            *rest = after;
            true
        }
        _ => false,
    };
    let mut ranges = Vec::new();
    loop {
        let (range, after) = match *rest {
            [b'\\', byte, after @ ..] => ((*byte, *byte), after),
            [b']', after @ ..] => {
                *rest = after;
                break;
            }
            // Also with `]` as its end, as Redis reads it.
            [low, b'-', high, after @ ..] => ((*low.min(high), *low.max(high)), after),
            [byte, after @ ..] => ((*byte, *byte), after),
            [] => break,
        };
        ranges.push(range);
        *rest = after;
    }
    Token::Class { not, ranges }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pregon_testkit::Redis;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[test]
    fn the_usual_patterns() {
        let matches = |pattern: &str, text: &str| Glob::new(pattern.as_bytes()).matches(text.as_bytes());
        assert!(matches("ws:room:*", "ws:room:cocina"));
        assert!(matches("ws:room:*", "ws:room:"));
        assert!(!matches("ws:room:*", "ws:rooms"));
        assert!(matches("h[ae]l?o", "hello") && !matches("h[^e]llo", "hello"));
        assert!(matches("a\\*b", "a*b") && !matches("a\\*b", "axb"));
        assert!(matches("*:*:x", "a:b:c:x") && !matches("*:x", "a:y"));
        assert!(matches("", "") && !matches("", "a"));
    }

    /// Redis matches keys as it matches channels, and KEYS shows what it matched.
    #[test]
    fn agrees_with_a_real_redis() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let redis = runtime.block_on(Redis::start()).unwrap();
        let client = redis::Client::open(redis.url()).unwrap();
        let connection = std::cell::RefCell::new(client.get_connection().unwrap());
        let piece = prop_oneof![
            Just("*"),
            Just("?"),
            Just("["),
            Just("]"),
            Just("^"),
            Just("-"),
            Just("\\"),
            Just("a"),
            Just("b"),
            Just("c"),
            Just("[a-c]"),
            Just("[^b"),
            Just(":"),
        ];
        let pattern = vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        let keys = vec("[abc:\\]\\[\\\\^*?-]{1,6}", 1..24);
        let mut runner = TestRunner::default();
        let tried = runner.run(&(pattern, keys), |(pattern, keys)| {
            let connection = &mut *connection.borrow_mut();
            redis::cmd("FLUSHALL").exec(connection).unwrap();
            let pairs: Vec<(&String, &str)> = keys.iter().map(|key| (key, "")).collect();
            redis::cmd("MSET").arg(&pairs).exec(connection).unwrap();
            let found: std::collections::HashSet<String> =
                redis::cmd("KEYS").arg(&pattern).query(connection).unwrap();
            let glob = Glob::new(pattern.as_bytes());
            for key in &keys {
                prop_assert_eq!(
                    glob.matches(key.as_bytes()),
                    found.contains(key),
                    "{} on {}",
                    pattern,
                    key
                );
            }
            Ok(())
        });
        tried.unwrap();
    }
}
