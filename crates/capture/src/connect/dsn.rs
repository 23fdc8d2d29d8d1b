//! Connection strings: takes out what the driver does not know (`sslmode` in full, `sslrootcert`) and leaves the rest to it.
//!
//! Both of libpq's forms: `postgres://user:pass@host/db?k=v` and `host=… user=…`.

use super::ConnectError;

/// Parameters that libpq accepts and that change nothing here.
const IGNORED: [&str; 8] = [
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "requirepeer",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslsni",
];

/// Parameters that would weaken or change the connection if they were silently dropped.
const UNSUPPORTED: [&str; 5] = ["passfile", "service", "sslcert", "sslcrl", "sslkey"];

/// A connection string without what the driver does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dsn {
    /// What the driver parses.
    pub(super) rest: String,
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<String>,
}

impl Dsn {
    pub(super) fn parse(text: &str) -> Result<Self, ConnectError> {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Self::parse_url(text)
        } else {
            Self::parse_pairs(text)
        }
    }

    fn parse_url(text: &str) -> Result<Self, ConnectError> {
        let mut dsn = Self::default();
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        dsn.rest.push_str(base);
        let mut separator = '?';
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                ConnectError::config(format!(
                    "the parameter {pair} of the connection string has no value"
                ))
            })?;
            if dsn.take(key, &percent_decode(value)?)? {
                continue;
            }
            dsn.rest.push(separator);
            dsn.rest.push_str(driver_name(key));
            dsn.rest.push('=');
            dsn.rest.push_str(value);
            separator = '&';
        }
        Ok(dsn)
    }

    fn parse_pairs(text: &str) -> Result<Self, ConnectError> {
        let mut dsn = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=').ok_or_else(|| {
                ConnectError::config("the connection string is neither a postgres:// URL nor key=value pairs")
            })?;
            let key = key.trim();
            let (value, after) = take_value(after.trim_start())?;
            rest = after.trim_start();
            if dsn.take(key, &value)? {
                continue;
            }
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            dsn.rest.push_str(&format!("{}='{quoted}' ", driver_name(key)));
        }
        Ok(dsn)
    }

    /// Keeps a parameter for us; false if it is the driver's.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, ConnectError> {
        match key {
            "sslmode" => self.sslmode = Some(value.to_owned()),
            "sslrootcert" => self.sslrootcert = Some(value.to_owned()),
            key if IGNORED.contains(&key) => {}
            key if UNSUPPORTED.contains(&key) => {
                return Err(ConnectError::config(format!(
                    "the parameter {key} of the connection string is not supported"
                )));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// libpq's names for what the driver calls otherwise.
fn driver_name(key: &str) -> &str {
    match key {
        "keepalives_count" => "keepalives_retries",
        other => other,
    }
}

/// Reads one value, quoted or not; gives it unescaped, and what follows it.
fn take_value(text: &str) -> Result<(String, &str), ConnectError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, body.get(at + 1..).unwrap_or_default())),
            c if !quoted && c.is_whitespace() => return Ok((value, body.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    if quoted {
        Err(ConnectError::config(
            "a quote in the connection string is not closed",
        ))
    } else {
        Ok((value, ""))
    }
}

fn percent_decode(text: &str) -> Result<String, ConnectError> {
    let broken = || ConnectError::config("the connection string has a broken % escape");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (hex, after) = rest.split_at_checked(2).ok_or_else(broken)?;
        let hex = std::str::from_utf8(hex).map_err(|_| broken())?;
        bytes.push(u8::from_str_radix(hex, 16).map_err(|_| broken())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn takes_the_tls_parameters_out_of_a_url() {
        let dsn = Dsn::parse(
            "postgres://u:p%40@h:5/db?sslmode=verify-full&application_name=x&sslrootcert=%2Fa%2Fb.pem",
        )
        .unwrap();
        assert_eq!(dsn.rest, "postgres://u:p%40@h:5/db?application_name=x");
        assert_eq!(dsn.sslmode.as_deref(), Some("verify-full"));
        assert_eq!(dsn.sslrootcert.as_deref(), Some("/a/b.pem"));
    }

    #[test]
    fn takes_the_tls_parameters_out_of_pairs() {
        let dsn = Dsn::parse(r"host = h password='a b\'c\\' sslmode=require user=me").unwrap();
        assert_eq!(dsn.rest, r"host='h' password='a b\'c\\' user='me' ");
        assert_eq!(dsn.sslmode.as_deref(), Some("require"));
    }

    #[test]
    fn refuses_what_it_would_have_to_drop() {
        assert!(Dsn::parse("postgres://h/db?sslkey=x").is_err());
        assert!(Dsn::parse("host=h sslcert=x").is_err());
        assert!(Dsn::parse("nonsense").is_err());
        assert!(Dsn::parse("host='open").is_err());
        assert!(Dsn::parse("postgres://h/db?sslrootcert=%zz").is_err());
    }
}
