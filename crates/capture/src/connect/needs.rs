//! What every session of ours sets, whatever the server, the database or the role sets as its default: limits that would end our work,
//! transactions that could not write, formats that would change what is read.
//!
//! `search_path` is not among them: queries of the configuration are written for the role's own. Who runs only our SQL asks for one.

/// One setting, with the first version that has it.
type Need = (&'static str, &'static str, u32);

const NEEDS: [Need; 22] = [
    ("default_transaction_read_only", "off", 0),
    ("default_transaction_isolation", "read committed", 0),
    ("default_transaction_deferrable", "off", 0),
    ("statement_timeout", "0", 0),
    ("lock_timeout", "0", 0),
    ("idle_in_transaction_session_timeout", "0", 0),
    ("idle_session_timeout", "0", 14),
    ("transaction_timeout", "0", 17),
    ("DateStyle", "ISO, MDY", 0),
    ("IntervalStyle", "postgres", 0),
    ("TimeZone", "UTC", 0),
    ("bytea_output", "hex", 0),
    ("extra_float_digits", "1", 0),
    ("xmlbinary", "base64", 0),
    ("xmloption", "content", 0),
    ("quote_all_identifiers", "off", 0),
    ("standard_conforming_strings", "on", 0),
    ("array_nulls", "on", 0),
    ("transform_null_equals", "off", 0),
    ("row_security", "on", 0),
    ("exit_on_error", "off", 0),
    ("check_function_bodies", "on", 0),
];

/// The server's side of the keepalives: a platform may refuse them, and a peer that vanished is then noticed later.
const KEEPALIVES: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15000"),
];

/// The value of `synchronous_commit` for who answers only what is on the disk: what is set, unless it is `off`.
pub(super) const DURABLE: &str = "not off";

/// A setting and its value.
pub(super) type Set = (&'static str, String);

/// What a session sets: what all need, changed and extended by `own`.
pub(super) fn settings(own: &[Set], version: u32, keepalives: bool) -> Vec<Set> {
    let known = |name: &str| {
        let since = NEEDS.iter().find(|need| need.0 == name).map_or(0, |need| need.2);
        since <= version && (keepalives || !name.starts_with("tcp_"))
    };
    let common = NEEDS.iter().map(|(name, value, _)| (*name, *value));
    let common = common
        .chain(KEEPALIVES)
        .filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
    let all = common
        .map(|(name, value)| (name, value.to_owned()))
        .chain(own.iter().cloned());
    all.filter(|(name, _)| known(name)).collect()
}

/// The calls that set them, for the session or for the transaction. Qualified: the search path may be anybody's.
pub(super) fn calls(settings: &[Set], local: bool) -> String {
    let call = |(name, value): &Set| {
        let value = match value.as_str() {
            DURABLE => format!(
                "CASE WHEN {IS} OPERATOR(pg_catalog.=) 'off' THEN 'on' ELSE {IS} END",
                IS = format_args!("pg_catalog.current_setting('{name}')")
            ),
            value => format!("'{value}'"),
        };
        format!("pg_catalog.set_config('{name}', {value}, {local})")
    };
    settings.iter().map(call).collect::<Vec<_>>().join(", ")
}

/// One query that sets for the session what all need, where the server knows it.
pub(super) fn query() -> String {
    let pairs: Vec<String> = NEEDS
        .iter()
        .map(|(name, value, _)| format!("('{name}', '{value}')"))
        .collect();
    format!(
        "SELECT pg_catalog.set_config(s.name, n.value, false) FROM (VALUES {}) AS n (name, value) \
         JOIN pg_catalog.pg_settings AS s USING (name)",
        pairs.join(", ")
    )
}

/// The statements that take them back.
pub(super) fn resets(settings: &[Set]) -> String {
    settings
        .iter()
        .map(|(name, _)| format!("RESET {name}; "))
        .collect()
}

/// The major version in what a server says of itself; 0 where it says something else.
pub(super) fn major(version: Option<&str>) -> u32 {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    version.and_then(|text| digits(text).parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_only_asked_for_what_it_has_and_our_own_value_wins() {
        let own = [("statement_timeout", "1900".to_owned())];
        let names = |version, keepalives| -> Vec<String> {
            let settings = settings(&own, version, keepalives);
            settings
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        let old = names(13, false);
        assert!(
            !old.iter()
                .any(|set| set.starts_with("transaction_timeout") || set.starts_with("tcp_"))
        );
        assert_eq!(
            old.iter()
                .filter(|set| set.starts_with("statement_timeout"))
                .count(),
            1
        );
        assert!(old.contains(&"statement_timeout=1900".to_owned()));
        let new = names(17, true);
        assert!(
            new.contains(&"transaction_timeout=0".to_owned())
                && new.contains(&"tcp_user_timeout=15000".to_owned())
        );
    }

    #[test]
    fn versions_are_read_from_what_servers_say() {
        for (text, version) in [
            ("15.10 (Debian 15.10-1)", 15),
            ("18beta2", 18),
            ("17.2", 17),
            ("devel", 0),
        ] {
            assert_eq!(major(Some(text)), version, "{text}");
        }
        assert_eq!(major(None), 0);
    }
}
