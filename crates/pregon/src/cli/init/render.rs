//! The file: what works now, and what to switch on next. A line whose `#` touches its text is a setting that can be switched on.

use std::fmt::Write as _;

use super::ask::about;
use super::choice::{Auth, Choice, Mode, Url, Watched, private_columns, spelling};

/// The whole text of `pregon.toml`.
pub(super) fn file(choice: &Choice) -> String {
    let mut out = head(choice);
    out.push_str(&server(choice));
    out.push_str(&auth(choice));
    out.push_str(&postgres(choice));
    for watched in &choice.watched {
        out.push_str(&watch(watched, choice));
    }
    out.push_str(&own_channels(choice));
    out.push_str(&listens(choice));
    out
}

fn head(choice: &Choice) -> String {
    format!(
        "# pregon.toml for the database {}, begun by `pregon init`.\n\
         #\n\
         # A line whose # touches its text is a setting: remove the # to switch it on. `pregon check` says what is wrong with this file,\n\
         # `pregon route explain` what becomes of a row. All keys: docs/config.md.\n",
        one_line(&choice.survey.database)
    )
}

fn server(choice: &Choice) -> String {
    format!(
        "\n[server]\n\
         listen = {}        # PREGON_LISTEN overrides it; \"0.0.0.0:8080\" is open to the network\n\
         #origins = [\"https://app.example.com\"]     # pages of other sites that may connect\n",
        quoted(&choice.listen)
    )
}

fn auth(choice: &Choice) -> String {
    let mut out = String::from("\n[auth]\n");
    match &choice.auth {
        Auth::Everyone => out.push_str(
            "# Nobody needs a token: whoever reaches the port sees what the channels below let everybody see. With a secret\n\
             # (JWT_SECRET, or here) every client needs one.\n",
        ),
        Auth::Environment => out.push_str(
            "# Every client needs a token (JWT) that is signed with JWT_SECRET. `pregon token mint --sub 7` makes one for development.\n\
             required = true\n",
        ),
        Auth::Secret(secret) => {
            out.push_str(
                "# Every client needs a token (JWT, HS256). `pregon token mint --sub 7` makes one for development; later your back end signs\n\
                 # them with this secret. JWT_SECRET overrides it: set it in production, and keep this file out of version control.\n",
            );
            let _ = writeln!(out, "secret = {}", quoted(secret));
        }
    }
    if !matches!(choice.auth, Auth::Everyone) {
        out.push_str("#join = [\"user_{sub}\"]                      # channels that each session follows from the start, by its token\n");
    }
    out
}

fn postgres(choice: &Choice) -> String {
    let mut out = String::from("\n[postgres]\n");
    match &choice.url {
        Url::Environment(_) => out.push_str("# The address comes from DATABASE_URL.\n"),
        Url::Written(url) => {
            let _ = writeln!(out, "url = {}   # DATABASE_URL overrides it", quoted(url));
        }
    }
    if choice.may_install() {
        out.push_str(
            "# `pregon serve` installs what the watches need; `pregon db plan` shows it before, `pregon db drop` removes it. In production\n\
             # prefer \"manual\", `pregon db apply` with PREGON_ADMIN_URL, and a role for the gateway that may do no more than it has to.\n\
             apply = \"auto\"\n",
        );
    } else {
        let _ = write!(
            out,
            "# The role {} may not install what the watches need: somebody who may runs `pregon db apply` with PREGON_ADMIN_URL, once\n\
             # and after each change of the watches. `pregon db plan` shows the SQL.\n\
             apply = \"manual\"\n",
            one_line(&choice.survey.role)
        );
    }
    let about = match choice.capture {
        Mode::Outbox => {
            "triggers write changes into pregon.outbox, in the application's own transaction: nothing is lost"
        }
        Mode::Wal => {
            "read from the write-ahead log through a slot: nothing is lost, and nothing is written by triggers"
        }
        Mode::Notify => "triggers notify: what happens while the gateway is away is told as a gap",
    };
    let _ = writeln!(out, "capture = \"{}\"   # {about}", choice.capture.as_str());
    out
}

fn watch(watched: &Watched, choice: &Choice) -> String {
    let (name, table) = (&watched.name, &watched.table);
    let mut out = format!(
        "\n# {}: {}\n[[watch]]\ntable = {}\n",
        one_line(&spelling(table)),
        one_line(&about(table)),
        quoted(&spelling(table))
    );
    if *name != table.name {
        let _ = writeln!(out, "name = {}", quoted(name));
    }
    let private = private_columns(table);
    if !private.is_empty() {
        let shown = table
            .columns
            .iter()
            .filter(|column| !private.contains(&column.as_str()));
        let _ = write!(
            out,
            "# Left out, because of {} name: {}. A column that the table gets later has to be added here.\ncolumns = [{}]\n",
            if private.len() == 1 { "its" } else { "their" },
            one_line(&private.join(", ")),
            shown.map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
        );
    }
    out.push_str("#operations = [\"insert\"]                   # all of \"insert\", \"update\", \"delete\" by default\n");
    let who = match choice.auth {
        Auth::Everyone => "everybody may follow it",
        _ => "everybody with a token may follow it",
    };
    let _ = write!(
        out,
        "\n[[channel]]                                # {who}\nname = {}\n",
        quoted(name)
    );
    if !matches!(choice.auth, Auth::Everyone) {
        out.push_str("#subscribe = \"claims.role == 'admin'\"       # or only those whose token says so\n");
    }
    out
}

/// How to give each client its own rows, shown with a column that there is.
fn own_channels(choice: &Choice) -> String {
    let Some((watched, column)) = shared_out(choice) else {
        return String::new();
    };
    let name = &watched.name;
    let mut out = format!(
        "\n# Instead of all rows for everybody, a channel for each {column}: a source that a route names goes only where its routes say.\n\
         #[[route]]\n#from = {}\n#to = [{}]\n#[[channel]]\n#name = {}\n",
        quoted(name),
        quoted(&format!("{name}_{{{column}}}")),
        quoted(&format!("{name}_{{id}}")),
    );
    if !matches!(choice.auth, Auth::Everyone) {
        out.push_str("#subscribe = \"channel.id == string(claims.sub)\"\n");
    }
    out
}

/// A table and the column that its rows are shared out by: a reference to something else, otherwise the key.
fn shared_out(choice: &Choice) -> Option<(&Watched, &str)> {
    let plain = |column: &&String| column.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let referring = choice.watched.iter().find_map(|one| {
        let left_out = private_columns(&one.table);
        let refers = |column: &&String| {
            let own = one.table.primary_key.contains(column) || left_out.contains(&column.as_str());
            column.ends_with("_id") && !own
        };
        let column = one.table.columns.iter().filter(plain).find(refers)?;
        Some((one, column.as_str()))
    });
    let by_key = || {
        let mut keyed = choice.watched.iter();
        keyed.find_map(|one| Some((one, one.table.primary_key.first().filter(plain)?.as_str())))
    };
    referring.or_else(by_key)
}

/// Functions that notify already are a source without any DDL.
fn listens(choice: &Choice) -> String {
    let taken = |name: &str| choice.watched.iter().any(|one| one.name == name);
    let reserved = [
        crate::route::rule::PUBLISH,
        crate::route::rule::CLIENTS,
        pregon_capture::install::CHANNEL,
    ];
    let usable = |name: &&String| {
        !taken(name)
            && !reserved.contains(&name.as_str())
            && !name.contains(['{', '}'])
            && !name.contains(char::is_control)
    };
    let channels: Vec<&String> = choice.survey.channels.iter().filter(usable).collect();
    if channels.is_empty() {
        return String::new();
    }
    let mut out =
        String::from("\n# Functions of this database notify already; this passes on what they say.\n");
    for channel in channels {
        let name = quoted(channel);
        let _ = write!(
            out,
            "#[[listen]]\n#channel = {name}\n#[[channel]]\n#name = {name}\n"
        );
    }
    out
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name may hold a line break, and must not end the comment with it.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::path::Path;

    use pregon_capture::catalog::survey::{Survey, SurveyedTable};

    use super::*;
    use crate::config::Config;

    fn table(schema: &str, name: &str, key: &[&str], columns: &[&str]) -> SurveyedTable {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SurveyedTable {
            schema: schema.into(),
            name: name.into(),
            rows: None,
            bytes: 8192,
            primary_key: owned(key),
            columns: owned(columns),
            may_trigger: true,
        }
    }

    fn choice(auth: Auth) -> Choice {
        let tables = [
            (
                "mensajes",
                table("public", "mensajes", &["id"], &["id", "conversation_id", "texto"]),
            ),
            ("raro__x", table("Mi \"Esquema\"", "raro.{x}", &[], &["a"])),
            (
                "users",
                table("public", "users", &["id"], &["id", "password", "na\"me"]),
            ),
        ];
        Choice {
            url: Url::Written("postgres://yo:cla\"ve@localhost/tienda".into()),
            survey: Survey {
                database: "tienda\nfalsa = 1".into(),
                role: "yo".into(),
                may_install: true,
                wal_level: "replica".into(),
                tables: tables.iter().map(|(_, table)| table.clone()).collect(),
                channels: vec!["sales_channel".into(), "users".into(), "pregon".into()],
            },
            watched: tables
                .into_iter()
                .map(|(name, table)| Watched {
                    name: name.into(),
                    table,
                })
                .collect(),
            capture: Mode::Outbox,
            listen: "127.0.0.1:0".into(),
            auth,
        }
    }

    fn parse(text: &str, secret: Option<&str>) -> Config {
        let variable = |name: &str| secret.filter(|_| name == "JWT_SECRET").map(str::to_owned);
        crate::check::parse(text, "pregon.toml", Path::new("."), &variable)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    #[test]
    fn the_file_is_a_configuration_whatever_the_names_are() {
        let config = parse(&file(&choice(Auth::Secret("0".repeat(64)))), None);
        let watched: Vec<_> = config.watch.iter().map(|watch| watch.name.as_str()).collect();
        assert_eq!(watched, ["mensajes", "raro__x", "users"]);
        let columns = config.watch.last().and_then(|watch| watch.columns.clone());
        assert_eq!(columns.unwrap(), ["id", "na\"me"]);
        assert!(config.auth.required());
        assert!(!parse(&file(&choice(Auth::Everyone)), None).auth.required());
        assert!(
            parse(&file(&choice(Auth::Environment)), Some("clave"))
                .auth
                .required()
        );
    }

    /// Everything that the comments offer works as it stands there.
    #[test]
    fn every_setting_can_be_switched_on() {
        for (auth, secret) in [
            (Auth::Secret("0".repeat(64)), None),
            (Auth::Everyone, None),
            (Auth::Environment, Some("clave")),
        ] {
            let text = file(&choice(auth));
            let on = |line: &str| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
                _ => line.to_owned(),
            };
            let all: Vec<String> = text.lines().map(on).collect();
            let config = parse(&all.join("\n"), secret);
            let [route] = config.route.as_slice() else {
                panic!("{:?}", config.route)
            };
            assert_eq!(route.to.iter().next().unwrap(), "mensajes_{conversation_id}");
            assert_eq!(config.listen.len(), 1, "{text}");
        }
    }
}
