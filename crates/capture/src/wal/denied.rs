//! What a refusal of the server means. Pure: its code and words decide, because 42501 has several causes.

use crate::install::PLUGIN_REMEDY;

/// What to do about a refusal with code 42501.
pub(super) fn remedy(message: &str) -> &'static str {
    let says = |words: &str| message.to_lowercase().contains(words);
    if says("output plugin") || says("output_plugin") {
        PLUGIN_REMEDY
    } else if says("replication") || says("wal sender") {
        "ALTER ROLE … REPLICATION (RDS: GRANT rds_replication), and let pg_hba.conf accept it for this database"
    } else {
        "grant the role what the message names"
    }
}

/// Whether the server could not send a change, and will not be able to the next time: a value that the client's encoding cannot have, that a
/// condition of the publication cannot judge (class 22), or that is longer as text than a message may be. Other faults of a server pass, or are no reason to
/// pass over changes.
pub(crate) fn is_unsendable(code: &str, message: &str) -> bool {
    let memory = message.contains("memory alloc") || message.contains("enlarge string buffer");
    code.starts_with("22") || code == "54000" || (memory && matches!(code, "XX000" | "53200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_refusal_decide_what_to_do() {
        for (message, word) in [
            (
                "permission denied to use replication slots; Only roles with the REPLICATION attribute may use replication slots.",
                "ALTER ROLE",
            ),
            (
                "must be superuser or replication role to start walsender",
                "ALTER ROLE",
            ),
            ("permission denied to start WAL sender", "ALTER ROLE"),
            (
                "library \"pgoutput\" may not be used as an output plugin; The configuration parameter \"output_plugin_libraries\" (currently 'wal2json') \
                 does not name this library as a trusted output plugin.",
                "ALTER SYSTEM",
            ),
            (
                "permission denied for function pg_current_wal_flush_lsn",
                "grant the role",
            ),
        ] {
            assert!(remedy(message).contains(word), "{message}");
        }
    }

    #[test]
    fn only_what_comes_again_is_passed_over() {
        for (code, message, is) in [
            ("22021", "invalid byte sequence for encoding \"UTF8\": 0x81", true),
            (
                "22P05",
                "character with byte sequence 0x81 in encoding \"WIN1252\" has no equivalent in encoding \"UTF8\"",
                true,
            ),
            ("22023", "string is not a valid identifier: \"a-b\"", true),
            ("XX000", "invalid memory alloc request size 1200000003", true),
            ("54000", "out of memory", true),
            ("53200", "out of memory", false),
            ("XX001", "could not read block 1", false),
            ("57P01", "terminating connection", false),
        ] {
            assert_eq!(is_unsendable(code, message), is, "{code} {message}");
        }
    }
}
