//! Whole files: what is read, what is refused and where, what the environment changes, and that the docs follow the structs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::{Path, PathBuf};

use crate::config::*;

fn read_with(text: &str, vars: &[(&str, &str)]) -> Result<Config, Problems> {
    let env = |name: &str| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    crate::check::parse(text, "pregon.toml", Path::new("/nowhere"), &env)
}

fn read(text: &str) -> Config {
    read_with(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Line, column, key and message of every problem.
fn wrong(text: &str) -> Vec<(usize, usize, String, String)> {
    let Err(problems) = read_with(text, &[]) else {
        panic!("nothing is wrong with it")
    };
    problems
        .0
        .into_iter()
        .map(|p| (p.line, p.column, p.key, p.message))
        .collect()
}

fn remedy(text: &str) -> String {
    let Err(Problems(problems)) = read_with(text, &[]) else {
        panic!("nothing is wrong with it")
    };
    problems[0].remedy.clone()
}

const LIVE_SALES: &str = r#"
[server]
listen = "127.0.0.1:8000"

[postgres]
url = "postgres://localhost/ventas"

[[listen]]
channel = "sales_channel"

[[endpoint]]
path = "/ws/sales"
channels = ["sales_channel"]
token = "none"
"#;

#[test]
fn an_empty_file_is_a_configuration() {
    let config = read("");
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen, "127.0.0.1:8080");
    assert!(!config.auth.required());
}

#[test]
fn the_example_of_a_bare_endpoint_is_read() {
    let config = read(LIVE_SALES);
    assert_eq!(config.listen[0].name, "sales_channel");
    assert_eq!(config.endpoint[0].token, Some(TokenRule::None));
    assert_eq!(config.server.path, "/ws");
}

#[test]
fn everything_can_be_said() {
    let config = read(
        r#"
[server]
origins = ["https://app.example.com", "http://localhost:3000"]
trusted_proxies = ["10.0.0.0/8", "::1"]
drain = "250ms"
[auth]
secret = "s"
algorithms = ["HS256", "HS512"]
join = ["user_{sub}", "role_{claims.role}"]
anonymous_join = ["news"]
required = false
[postgres]
url = "host=/run/postgresql dbname=x"
apply = "auto"
[[watch]]
table = 'public."Mensajes"'
operations = ["insert", "truncate"]
where = "bot_id IS NULL"
columns = ["id", "message"]
[[listen]]
channel = "c"
name = "avisos"
[[route]]
from = ["Mensajes", "avisos"]
when = "op == 'insert' && row.id > 3"
to = "conversation_{conversation_id}"
event = "message:{op}"
payload = { id = "row.id", both = "row.a + row.b" }
enrich = { sql = "SELECT user_id FROM conversations WHERE id = :conversation_id" }
[[channel]]
name = "conversation_{id}"
allow = "channel.id in claims.rooms"
allow_sql = "SELECT true FROM conversations WHERE id = :channel.id AND user_id = :claims.sub"
publish = "has(claims.admin)"
[limits]
message = "1MiB"
queue = 4096
"#,
    );
    assert_eq!(config.watch[0].name, "Mensajes");
    assert_eq!(
        config.channel[0].subscribe.as_deref(),
        Some("channel.id in claims.rooms")
    );
    assert_eq!(
        config.route[0].enrich.as_ref().unwrap().timeout,
        Period::seconds(2)
    );
    assert_eq!(&config.route[0].to[..], ["conversation_{conversation_id}"]);
    assert_eq!(
        (config.limits.message, config.limits.queue),
        (Size::mib(1), Size(4096))
    );
    assert_eq!(config.postgres.unwrap().apply, Apply::Auto);
}

#[test]
fn all_problems_come_at_once_with_their_places() {
    let text = r#"[server]
lisen = "x"
drain = "5 seconds"
origins = "*"
[auth]
join = ["user_{sub"]
[postgres]
url = "postgres://localhost/x"
capture = "walls"
pool = -1
[[watch]]
operations = ["insert", "upsert"]
[[watch]]
table = "public.ventas"
[[route]]
from = "venta"
to = ["v_{id}", "v_{}"]
when = "row.total >"
payload = { x = "claims.sub" }
[[channel]]
name = "c_{id}"
allow_sql = "SELECT true WHERE :channel.user = 1"
"#;
    let found = wrong(text);
    let expected = [
        (2, 1, "server.lisen", "unknown key `lisen`"),
        (3, 9, "server.drain", "is not a length of time"),
        (4, 11, "server.origins", "must be a list, not a text"),
        (
            6,
            9,
            "auth.join[0]",
            "`{` at character 6 is never closed; write `{{` for a brace",
        ),
        (9, 11, "postgres.capture", "must be one of"),
        (
            10,
            8,
            "postgres.pool",
            "must be between 0 and 9223372036854775807",
        ),
        (11, 1, "watch[0].table", "the key `table` is missing"),
        (
            12,
            25,
            "watch[0].operations[1]",
            "must be one of `insert`, `update`, `delete`, `truncate`",
        ),
        (16, 8, "route[0].from", "no source is called `venta`"),
        (
            17,
            17,
            "route[0].to[1]",
            "`{}` is not a name; use a column or a path such as `claims.sub`",
        ),
        (18, 8, "route[0].when", ""),
        (
            19,
            17,
            "route[0].payload.x",
            "`claims` is not known here; there are row, old, op, message, channel",
        ),
        (
            22,
            13,
            "channel[0].allow_sql",
            "`:channel.user` is not known here",
        ),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (found.0, found.1, found.2.as_str()),
            (expected.0, expected.1, expected.2),
            "{found:?}"
        );
        assert!(found.3.contains(expected.3), "{found:?}");
    }
}

#[test]
fn a_problem_reads_as_one_line() {
    let Err(problems) = read_with("[server]\nlisen = 1\n", &[]) else {
        panic!("nothing is wrong")
    };
    assert_eq!(
        problems.to_string(),
        "pregon.toml:2:1: server.lisen: unknown key `lisen`; did you mean `listen`?"
    );
}

#[test]
fn remedies_suggest_what_was_meant() {
    assert_eq!(remedy("[sever]\n"), "did you mean `server`?");
    let text = format!("{LIVE_SALES}[[route]]\nfrom = 'sales_chanel'\nto = 'x'\n");
    assert_eq!(remedy(&text), "did you mean `sales_channel`?");
    assert_eq!(
        remedy("[auth]\nsecret='x'\nalgorithms = ['HS265']\n"),
        "did you mean `HS256`?"
    );
    assert!(remedy("[[listen]]\nchannel='c'\n").contains("add a [postgres] section"));
}

#[test]
fn templates_of_rooms_and_names_for_several_channels_are_read() {
    let problems = |text: &str| {
        let found = wrong(text).into_iter().map(|p| (p.2, p.3));
        found.collect::<Vec<_>>()
    };
    for (rooms, message) in [
        ("chat_{sub}", "`{sub}` is not known here"),
        ("chat", "one channel for all rooms"),
        ("chat_{room", "is never closed"),
    ] {
        let found = problems(&format!(
            "[[endpoint]]\npath = '/x'\nchannels = []\nrooms = '{rooms}'\n"
        ));
        assert_eq!(
            (found.len(), found[0].0.as_str()),
            (1, "endpoint[0].rooms"),
            "{found:?}"
        );
        assert!(found[0].1.contains(message), "{found:?}");
    }
    let found =
        problems("[[channel]]\nname = 'c'\nfollow = ['a_{sub}', 'b_{row.id}']\nvolatile = ['typing', '']\n");
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["channel[0].follow[1]", "channel[0].volatile[1]"]);
}

#[test]
fn socket_io_has_a_path_of_its_own() {
    let keys = |text: &str| wrong(text).into_iter().map(|p| p.2).collect::<Vec<_>>();
    for path in ["/", "/ws", "/api/x", "sin barra"] {
        assert_eq!(
            keys(&format!("[socketio]\npath = '{path}'\n")),
            ["socketio.path"],
            "{path}"
        );
    }
    let below = "[socketio]\n[[endpoint]]\npath = '/socket.io/x'\nchannels = ['c']\n";
    assert_eq!(keys(below), ["endpoint[0].path"]);
}

#[test]
fn syntax_errors_stand_alone() {
    let found = wrong("[server\nlisten = 1\n");
    assert_eq!((found[0].0, found[0].2.as_str()), (1, ""));
    assert!(!wrong("a = \n[b]\nc = 'x\n").is_empty());
    assert_eq!(wrong("[server]\nsse = true\nsse = true\n")[0].0, 3);
}

#[test]
fn names_must_be_free_and_paths_too() {
    let base = "[postgres]\nurl = 'postgres://h/d'\n";
    let keys = |text: &str| {
        wrong(&format!("{base}{text}"))
            .into_iter()
            .map(|p| p.2)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys("[[watch]]\ntable='a.t'\n[[watch]]\ntable='b.t'\n"),
        ["watch[1].name"]
    );
    assert_eq!(
        keys("[[watch]]\ntable='t'\n[[listen]]\nchannel='t'\n"),
        ["listen[0].name"]
    );
    assert_eq!(keys("[[listen]]\nchannel='pregon'\n"), ["listen[0].channel"]);
    assert_eq!(
        keys("[[watch]]\ntable='a.b.c'\n[[watch]]\ntable='x y'\n"),
        ["watch[0].table", "watch[1].table"]
    );
    assert_eq!(
        keys("[[watch]]\ntable='t'\nwhere='true; DROP TABLE t'\n"),
        ["watch[0].where"]
    );
    let endpoint = "[[endpoint]]\nchannels=['c']\npath=";
    assert_eq!(
        keys(&format!(
            "{endpoint}'/sse'\n{endpoint}'x'\n{endpoint}'/a'\n{endpoint}'/a'\n"
        ))
        .len(),
        3
    );
}

#[test]
fn a_bare_endpoint_may_take_the_path_of_the_protocol() {
    let endpoint = "[[endpoint]]\npath='/ws'\nchannels=['c']\n";
    assert_eq!(read(endpoint).server.path, "/connect");
    assert_eq!(
        wrong(&format!("[server]\npath='/ws'\n{endpoint}"))[0].2,
        "endpoint[0].path"
    );
}

#[test]
fn keys_of_tokens_are_checked() {
    let key = |text: &str| wrong(&format!("[auth]\n{text}"))[0].2.clone();
    assert_eq!(key("secret='a'\njwks_url='https://x/y'\n"), "auth");
    assert_eq!(key("secret=''\n"), "auth.secret");
    assert_eq!(key("secret='a'\nalgorithms=['RS256']\n"), "auth.algorithms");
    assert_eq!(key("jwks_url='http://example.com/jwks'\n"), "auth.jwks_url");
    assert_eq!(key("public_key_file='none.pem'\n"), "auth.public_key_file");
    assert_eq!(key("required=true\n"), "auth.required");
    assert_eq!(key("anonymous_join=['u_{sub}']\n"), "auth.anonymous_join[0]");
    assert_eq!(
        wrong("[server]\norigins=['*']\n[auth]\ncookie='sid'\n")[0].2,
        "server.origins"
    );
    assert_eq!(
        wrong("[[endpoint]]\npath='/a'\nchannels=['u_{sub}']\ntoken='none'\n")[0].2,
        "endpoint[0].channels[0]"
    );
    assert_eq!(
        wrong("[[endpoint]]\npath='/a'\nchannels=['u']\ntoken='required'\n")[0].2,
        "endpoint[0].token"
    );
}

#[test]
fn short_periods_are_periods_and_nothing_is_not() {
    let limits = read("[limits]\nauth='500ms'\nhandshake='1ms'\n[log]\nage='10ms'\n").limits;
    assert_eq!(limits.auth.to_string(), "500ms");
    for (key, text) in [
        ("limits.auth", "[limits]\nauth='0s'\n"),
        ("limits.handshake", "[limits]\nhandshake='0ms'\n"),
        ("log.age", "[log]\nage='0d'\n"),
    ] {
        assert_eq!(wrong(text)[0].2, key);
    }
}

const INBOX: &str = r#"
[postgres]
url = "postgres://h/d"
[[watch]]
table = "messages"
[[listen]]
channel = "chat"
"#;
const SEALED: &str = "[[decrypt]]\nfrom='messages'\nfields=['message']\nformat='aes-256-gcm'\nlayout='iv:tag:data'\nkey_env='MESSAGE_KEY'\n";
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn sealed(text: &str) -> Result<Config, Problems> {
    read_with(&format!("{INBOX}{text}"), &[("MESSAGE_KEY", KEY)])
}

/// Key and message of the first problem.
fn fault(text: &str) -> String {
    let Problems(problems) = sealed(text).expect_err("nothing is wrong with it");
    format!("{}: {}", problems[0].key, problems[0].message)
}

#[test]
fn keys_of_encrypted_fields_come_from_the_environment() {
    let config = sealed(SEALED).unwrap();
    assert_eq!(config.decrypt[0].name, "messages");
    assert_eq!(config.decrypt[0].key.as_ref().unwrap().reveal(), KEY);
    assert!(!format!("{config:?}").contains(KEY));
    let Err(Problems(problems)) = read_with(&format!("{INBOX}{SEALED}"), &[]) else {
        panic!("it works without a key")
    };
    assert_eq!(
        (
            problems[0].line,
            problems[0].key.as_str(),
            problems[0].remedy.as_str()
        ),
        (13, "decrypt[0].key_env", "set MESSAGE_KEY, or use `key_file`")
    );
    let short = read_with(&format!("{INBOX}{SEALED}"), &[("MESSAGE_KEY", "abcd")]).unwrap_err();
    assert!(
        short.to_string().contains("key 1 is not 32 bytes as hex"),
        "{short}"
    );
}

#[test]
fn decrypt_sections_are_checked() {
    let with = |text: &str| fault(&format!("{SEALED}{text}"));
    assert_eq!(
        fault(&SEALED.replace("'messages'", "'mesages'")),
        "decrypt[0].from: no source is called `mesages`"
    );
    assert_eq!(
        fault(&SEALED.replace("['message']", "[]")),
        "decrypt[0].fields: names no field"
    );
    assert_eq!(
        fault(&SEALED.replace("iv:tag:data", "iv:tag")),
        "decrypt[0].layout: `data` must be named once"
    );
    assert_eq!(
        fault(&SEALED.replace("layout", "#")),
        "decrypt[0]: the key `layout` is missing".replace("[0]:", "[0].format:")
    );
    assert_eq!(
        fault(&SEALED.replace("aes-256-gcm", "aes")),
        "decrypt[0].format: must be one of `aes-256-gcm`, `aes-256-cbc`, `cryptojs`, `fernet`, `laravel`, `cloak`"
    );
    assert_eq!(
        with("aad='{claims.sub}'\n"),
        "decrypt[0].aad: `{claims.sub}` is of a client, and a route sees only the event"
    );
    assert_eq!(
        with("aad='{row.message}'\n"),
        "decrypt[0].aad: `{row.message}` is encrypted itself"
    );
    assert_eq!(
        with(SEALED),
        "decrypt[1].from: another decrypt section is called `messages`".replace(".from", ".name")
    );
    let named = SEALED.replace("from", "name='other'\nfrom");
    assert_eq!(
        with(&named),
        "decrypt[1].fields[0]: the section `messages` decrypts this field already"
    );
    assert!(
        sealed(&format!("{SEALED}{}", named.replace("messages", "chat"))).is_ok(),
        "another source's field"
    );
}

#[test]
fn routes_may_only_copy_what_is_encrypted() {
    let route = |rest: &str| format!("{SEALED}[[route]]\nfrom=['messages','chat']\n{rest}");
    for good in [
        "to='c_{id}'\npayload={ text='row.message', before='old.message', n='row.n * 2', there='has(row.message)', x='row.other.message' }\n",
        "to='c_{messages}'\nwhen=\"row.message != null && row.message.startsWith('x')\"\n",
    ] {
        assert!(sealed(&route(good)).is_ok(), "{good}");
    }
    for bad in [
        "row.message + '!'",
        "'m' in row.message",
        "row.message.text",
        "size(row['message'])",
        "row",
        "[row.message]",
        "{'a': old.message}",
        "row[row.n]",
        "message.message == null ? 1 : 2",
    ] {
        let told = fault(&route(&format!("to='c'\n[route.payload]\nt = \"{bad}\"\n")));
        assert_eq!(
            told, "route[0].payload.t: `message` of `messages` is encrypted here",
            "{bad}"
        );
    }
    assert_eq!(
        fault(&route("to=['a','c_{row.message}']\n")),
        "route[0].to[1]: `message` of `messages` is encrypted here"
    );
    assert_eq!(
        fault(&route("to='a'\nevent='{message}'\n")),
        "route[0].event: `message` of `messages` is encrypted here"
    );
    let elsewhere = format!("{SEALED}[[route]]\nfrom='chat'\nto='c_{{message}}'\n");
    assert!(sealed(&elsewhere).is_ok(), "the field of another source");
}

/// It was read and did nothing.
#[test]
fn a_log_keeps_no_number_of_entries_per_channel() {
    assert_eq!(wrong("[log]\nper_channel=5\n")[0].2, "log.per_channel");
}

#[test]
fn emitters_need_their_servers_and_free_channels() {
    let found = wrong(
        r##"
[socketio]
emitters = ["redis", "postgres"]
namespaces = ["/admin", "admin", "/a#b", "/admin", "/"]
postgres_prefix = ""
postgres_table = "a b"
[[listen]]
channel = "#/admin"
"##,
    );
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(.., key, message)| (key.as_str(), message.as_str()))
        .collect();
    for wanted in [
        ("socketio.emitters[0]", "needs a Redis"),
        ("socketio.emitters[1]", "needs a database"),
        ("socketio.namespaces[1]", "is not a namespace"),
        ("socketio.namespaces[2]", "is not a namespace"),
        ("socketio.namespaces[3]", "is there already"),
        ("socketio.namespaces[4]", "is there already"),
        ("socketio.postgres_prefix", "is not a prefix of an emitter"),
        ("socketio.postgres_table", "is not the name of a table"),
        ("listen[0].channel", "is a channel of the emitters of [socketio]"),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
    let long = format!(
        "[postgres]\nurl = \"postgres://h/d\"\n[socketio]\nemitters = [\"postgres\"]\nnamespaces = [\"/{}\"]",
        "x".repeat(60)
    );
    assert_eq!(wrong(&long).len(), 1);
}

#[test]
fn secrets_are_not_shown() {
    let text =
        "[auth]\nsecret = 'hunter2'\nrequired = 3\n[postgres]\nurl = 'hunter3'\n[server]\napi_key = 77\n";
    let Err(problems) = read_with(text, &[]) else {
        panic!("nothing is wrong")
    };
    let shown = format!(
        "{problems} {problems:?} {:?}",
        read_with("[auth]\nsecret='hunter2'\n", &[])
    );
    assert!(!shown.contains("hunter") && !shown.contains("77"), "{shown}");
    assert_eq!(problems.0.len(), 3, "{problems}");
}

#[test]
fn the_environment_overrides_the_file() {
    let vars = [
        ("DATABASE_URL", "postgres://env/db"),
        ("PREGON_ADMIN_URL", "postgres://admin/db"),
        ("JWT_SECRET", "key"),
        ("PREGON_LISTEN", "0.0.0.0:0"),
        ("PORT", "99"),
        ("PREGON_API_KEY", "api"),
        ("PREGON_DATA", "/data/here"),
    ];
    let config = read_with("[postgres]\n[auth]\nsecret_file='none'\n", &vars).unwrap();
    let postgres = config.postgres.unwrap();
    assert_eq!(postgres.url.as_ref().unwrap().reveal(), "postgres://env/db");
    assert_eq!(postgres.admin().unwrap().reveal(), "postgres://admin/db");
    assert_eq!(config.auth.secret.as_ref().unwrap().reveal(), "key");
    assert_eq!(config.server.listen, "0.0.0.0:0");
    assert_eq!(config.server.api_key.unwrap().reveal(), "api");
    assert!(config.auth.required());
    assert_eq!(config.log.path.as_deref(), Some("/data/here"));
}

#[test]
fn the_folder_of_the_log_is_relative_to_the_file_and_in_the_environment_to_where_we_are() {
    let log = read("[log]\npath='data'\n").log;
    assert_eq!(log.path.as_deref(), Some("/nowhere/data"));
    let here = std::env::current_dir()
        .unwrap()
        .join("data")
        .display()
        .to_string();
    let log = read_with("[log]\npath='other'\n", &[("PREGON_DATA", "data")])
        .unwrap()
        .log;
    assert_eq!(log.path, Some(here));
    assert_eq!(wrong("[log]\nsegment='2GiB'\n")[0].2, "log.segment");
}

#[test]
fn nodes_that_share_a_log_need_a_database_and_a_section_that_has_an_effect() {
    const SHARED: &str = "[log]\nkind='postgres'\n";
    let config = read_with(
        &format!("[postgres]\nurl='postgres://h/d'\n{SHARED}[cluster]\nname='shop'\nnode='one'\n"),
        &[("PREGON_NODE", "two")],
    )
    .unwrap();
    assert_eq!(
        (config.cluster.name.as_str(), config.cluster.node.as_deref()),
        ("shop", Some("two"))
    );
    assert!(config.log.kind.is_shared());
    let keys = |text: &str| {
        wrong(text)
            .into_iter()
            .map(|(_, _, key, _)| key)
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(SHARED), ["log.kind"]);
    assert_eq!(keys("[cluster]\nname='shop'\n"), ["cluster"]);
    let named = format!("[postgres]\nurl='postgres://h/d'\n{SHARED}[cluster]\nname='a b'\nnode=''\n");
    assert_eq!(keys(&named), ["cluster.name", "cluster.node"]);
}

#[test]
fn a_variable_without_its_section_is_ignored() {
    let vars = [
        ("DATABASE_URL", "nonsense"),
        ("JWT_SECRET", "key"),
        ("REDIS_URL", "redis://x"),
    ];
    assert_eq!(read_with("", &vars).unwrap(), Config::default());
    assert_eq!(
        read_with("", &[("PREGON_API_KEY", ""), ("PORT", "")]).unwrap(),
        Config::default()
    );
    let jwks = read_with("[auth]\njwks_url='https://x/y'\n", &vars).unwrap();
    assert_eq!(
        jwks.auth.secret, None,
        "a public key's configuration takes no shared secret"
    );
}

const REDIS: &str = r#"
[redis]
url = "redis://:clave@127.0.0.1:6379"
[[redis.channel]]
channel = "events"
[[redis.pattern]]
pattern = "ws:room:*"
name = "rooms"
[[redis.stream]]
stream = "orders"
"#;

#[test]
fn sources_of_redis_have_names_for_routes() {
    let config = read(&format!(
        "{REDIS}[[route]]\nfrom=['events','rooms','orders']\nto='x'\n"
    ));
    assert_eq!(
        config.sources().collect::<Vec<_>>(),
        ["events", "rooms", "orders"]
    );
    let redis = config.redis.unwrap();
    assert_eq!(redis.origin("rooms"), Some("ws:room:*"));
    let stream = &redis.stream[0];
    assert_eq!(
        (stream.field.as_str(), stream.group.as_str(), stream.from),
        ("data", "pregon", StreamStart::New)
    );
    assert_eq!(read("[redis]\nurl='redis://h'\n").sources().count(), 0);
}

#[test]
fn redis_is_checked() {
    let keys = |text: &str| wrong(text).into_iter().map(|p| p.2).collect::<Vec<_>>();
    let base = "[redis]\nurl='redis://h'\n";
    assert_eq!(keys("[redis]\n"), ["redis.url"]);
    assert_eq!(keys("[redis]\nurl='127.0.0.1:6379'\n"), ["redis.url"]);
    assert_eq!(keys(&format!("{base}heartbeat='0s'\n")), ["redis.heartbeat"]);
    assert_eq!(
        keys(&format!("{base}[[redis.channel]]\nname='x'\n")),
        ["redis.channel[0].channel"]
    );
    assert_eq!(
        keys(&format!("{base}[[redis.pattern]]\npattern=''\n")),
        ["redis.pattern[0].pattern"]
    );
    assert_eq!(
        keys(&format!(
            "{base}[[redis.pattern]]\npattern='a*'\n[[redis.pattern]]\npattern='a*'\nname='b'\n"
        )),
        ["redis.pattern[1].pattern"]
    );
    assert_eq!(
        keys(&format!(
            "{base}[[redis.channel]]\nchannel='x'\n[[redis.stream]]\nstream='x'\nfield=''\n"
        )),
        ["redis.stream[0].name", "redis.stream[0].field"]
    );
    assert_eq!(
        keys(&format!(
            "{LIVE_SALES}{base}[[redis.channel]]\nchannel='sales_channel'\n"
        )),
        ["redis.channel[0].name"]
    );
    assert_eq!(
        keys("[redis]\nurl='redis://h'\nca_file='none.pem'\n"),
        ["redis.ca_file", "redis.ca_file"]
    );
}

#[test]
fn problems_of_redis_show_no_password() {
    let Err(problems) = read_with("[redis]\nurl='redis://:hunter2@h:x'\npassword='hunter3'\n", &[]) else {
        panic!("nothing is wrong")
    };
    assert!(
        !format!("{problems} {problems:?}").contains("hunter"),
        "{problems}"
    );
}

#[test]
fn the_environment_says_where_redis_is() {
    let redis = |vars: &[(&str, &str)]| read_with(REDIS, vars).unwrap().redis.unwrap();
    let url = |vars: &[(&str, &str)]| redis(vars).url.unwrap().reveal().to_owned();
    assert_eq!(url(&[("REDIS_URL", "rediss://x")]), "rediss://x");
    assert_eq!(url(&[("REDIS_ADDR", "cache:1")]), "redis://:clave@cache:1");
    let both = [("REDIS_ADDR", "cache:1"), ("REDIS_PASSWORD", "p@/:ss")];
    assert_eq!(redis(&both).password.unwrap().reveal(), "p@/:ss");
    let url_wins = [
        ("REDIS_URL", "redis://x"),
        ("REDIS_ADDR", "y:1"),
        ("REDIS_PASSWORD", "p"),
    ];
    assert_eq!(url(&url_wins), "redis://x");
    assert_eq!(redis(&url_wins).password, None);
    let empty = read_with("[redis]\n", &[("REDIS_ADDR", "cache:1")]).unwrap();
    assert_eq!(empty.redis.unwrap().url.unwrap().reveal(), "redis://cache:1");
    assert!(read_with(REDIS, &[("REDIS_ADDR", "cache:x")]).is_err());
}

#[test]
fn the_admin_url_falls_back_to_the_ordinary_one() {
    let config = read_with("[postgres]\n", &[("DATABASE_URL", "postgres://a/b")]).unwrap();
    assert_eq!(
        config.postgres.unwrap().admin().unwrap().reveal(),
        "postgres://a/b"
    );
}

#[test]
fn a_port_of_a_platform_counts_only_where_the_file_names_no_address() {
    let listen = |text: &str| {
        let config = read_with(text, &[("PORT", "3000")]).unwrap();
        config.server.listen
    };
    assert_eq!(listen("[server]\nlisten='127.0.0.1:1'\n"), "127.0.0.1:1");
    assert_eq!(listen("[server]\nlisten='[::1]:1'\n"), "[::1]:1");
    assert_eq!(listen("[server]\nping='20s'\n"), "0.0.0.0:3000");
    assert_eq!(listen(""), "0.0.0.0:3000");
}

#[test]
fn wrong_variables_are_named() {
    let Err(problems) = read_with("", &[("PREGON_LISTEN", "nowhere")]) else {
        panic!("nothing is wrong")
    };
    assert_eq!(
        problems.to_string(),
        "environment: PREGON_LISTEN: must be `address:port`; write it like `0.0.0.0:8080`"
    );
    assert!(read_with("", &[("PORT", "x")]).is_err());
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let problems = crate::check::load(Path::new("/nowhere/pregon.toml"), &|_| None).unwrap_err();
    assert!(problems.0[0].message.starts_with("cannot read the configuration"));
}

#[test]
fn the_commented_default_file_is_the_default() {
    let text = default_toml();
    assert_eq!(read(&text), Config::default());
    // Each section on its own, uncommented, without what needs a value, is read and changes nothing.
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| !line.contains('…'));
    let plain: Vec<&str> = lines
        .take_while(|line| *line != "[postgres]")
        .filter(|line| !line.starts_with("pregon.toml"))
        .collect();
    assert_eq!(read(&plain.join("\n")), Config::default());
}

#[test]
fn the_examples_are_right() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let files = std::fs::read_dir(examples)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("pregon.toml"));
    let key = |name: &str| (name == "MESSAGE_KEY").then(|| KEY.to_owned());
    for file in files.filter(|file| file.exists()) {
        crate::check::load(&file, &key).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

/// `UPDATE_DOCS=1` writes them.
#[test]
fn the_docs_follow_the_structs() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = [
        ("config.md", reference_markdown()),
        ("pregon.schema.json", schema_json()),
        ("pregon.default.toml", default_toml()),
    ];
    for (name, text) in pages {
        let path = docs.join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&docs).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "docs/{name} is stale: run UPDATE_DOCS=1 cargo test -p pregon config"
        );
    }
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(text in "([\\[\\]a-z.=\"'{}#\n 0-9_]|server|auth|watch|route|table){0,40}") {
        let _ = read_with(&text, &[]);
    }
}
