//! Every type as `row_to_json` writes it, whatever the writer's session says.

use pregon_capture::install::WatchSpec;
use pregon_testkit::{Database, postgres};

use crate::kit::{Memory, Stream, install, target};

const SCHEMA: &str = r#"
    CREATE SCHEMA app;
    CREATE TYPE app.estado AS ENUM ('nuevo', 'ya pagado');
    CREATE TYPE app.calle AS (nombre text, numero int, desde date);
    CREATE TYPE app.direccion AS (calle app.calle, notas text[], ok boolean);
    CREATE DOMAIN app.positivo AS int CHECK (VALUE > 0);
    CREATE DOMAIN app.documento AS jsonb;
    CREATE DOMAIN app.lista AS int[];
    CREATE TYPE app.horas AS RANGE (subtype = time);
"#;

const HSTORE: &str = "CREATE EXTENSION hstore SCHEMA app";

/// A type and values of it.
const VALUES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768"]),
    ("integer", &["2147483647"]),
    ("bigint", &["9007199254740993", "-9223372036854775808"]),
    (
        "numeric",
        &["12345678901234567890.1200", "'NaN'", "'Infinity'", "0.00", "-0.5"],
    ),
    ("numeric(10,2)", &["10.5"]),
    ("real", &["0.1", "'NaN'", "1e21", "1e-7"]),
    (
        "double precision",
        &["0.1", "1e21", "'-Infinity'", "123456789012345678", "1e-300"],
    ),
    ("money", &["1234.5"]),
    ("oid", &["12"]),
    ("regclass", &["'app.t'", "'pg_class'"]),
    ("regtype", &["'app.estado'", "'int4'"]),
    ("xid8", &["'7'"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("text", &["''", r#"E'ñ"\\\n\t\r\b\f\x01/\x7f 𝄞'"#, "'{a,b}'"]),
    ("varchar(5)", &["'ab'"]),
    ("char(5)", &["'ab'"]),
    ("\"char\"", &["'x'"]),
    ("name", &["'n'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("xml", &["'<a>\"b\"</a>'"]),
    ("inet", &["'10.0.0.1'", "'10.0.0.0/8'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit(3)", &["B'101'"]),
    ("bit varying", &["B'10101'"]),
    ("point", &["'(1,2.5)'"]),
    ("box", &["'(3,4),(1,1)'"]),
    ("path", &["'[(0,0),(1,1)]'"]),
    ("circle", &["'<(0,0),1>'"]),
    ("tsvector", &["'a:1 b:2'"]),
    ("jsonpath", &["'$.a'"]),
    (
        "date",
        &["'2024-02-29'", "'infinity'", "'0044-03-15 BC'", "'12345-01-01'"],
    ),
    ("time", &["'01:02:03.5'"]),
    ("timetz", &["'01:02:03+02'"]),
    (
        "timestamp",
        &[
            "'2024-03-01 12:34:56.789'",
            "'infinity'",
            "'0044-03-15 12:00:00 BC'",
            "'2024-03-01'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'2024-03-01 12:34:56.7+05:30'",
            "'-infinity'",
            "'0044-03-15 12:00:00+00 BC'",
            "'2024-07-01 00:00:00+00'",
        ],
    ),
    ("interval", &["'1 year 2 mons 3 days 04:05:06.7'", "'-1 day'"]),
    ("bytea", &[r"'\xdeadbeef'", "''"]),
    (
        "json",
        &[r#"'{"b": 1, "a": [1,  2], "b": 2}'"#, "'null'", "E'{\"x\":\\n1}'"],
    ),
    ("jsonb", &[r#"'{"b": 1, "a": [1,  2]}'"#, "'10.50'", "'\"x\"'"]),
    (
        "integer[]",
        &["'{1,NULL,3}'", "'{}'", "'[0:1]={7,8}'", "'{{1,2},{3,4}}'"],
    ),
    (
        "text[]",
        &[r#"ARRAY['a,b', 'q"x', 'NULL', NULL, '', 'b\s', '{}', ' e ']"#],
    ),
    ("boolean[]", &["'{t,f}'"]),
    (
        "timestamptz[]",
        &["ARRAY['2024-03-01 12:00:00+00'::timestamptz, 'infinity']"],
    ),
    ("date[]", &["'{2024-01-01}'"]),
    ("jsonb[]", &[r#"ARRAY['{"a": "x,y"}'::jsonb, '[1]', 'null']"#]),
    ("bytea[]", &[r"ARRAY['\x00ff'::bytea]"]),
    ("box[]", &["ARRAY['(3,4),(1,1)'::box, '(1,1),(0,0)'::box]"]),
    ("point[]", &["ARRAY['(1,2)'::point]"]),
    ("numeric[]", &["ARRAY[1.50, 'NaN']::numeric[]"]),
    ("int2vector", &["'1 2'"]),
    ("oidvector", &["'1 2'"]),
    ("int4range", &["'[1,5]'", "'empty'"]),
    ("tstzrange", &["'[2024-01-01 00:00:00+00,)'"]),
    ("int4multirange", &["'{[1,3),[5,9)}'"]),
    ("app.horas", &["'[01:00,02:00)'"]),
    ("app.estado", &["'ya pagado'"]),
    ("app.estado[]", &["ARRAY['ya pagado', 'nuevo']::app.estado[]"]),
    ("app.positivo", &["7"]),
    ("app.positivo[]", &["ARRAY[7, 8]::app.positivo[]"]),
    ("app.documento", &[r#"'{"a": 1}'"#]),
    ("app.lista", &["'{1,2}'"]),
    (
        "app.calle",
        &[
            r#"ROW('Main "St", \5', 5, '2024-01-01')"#,
            "ROW(NULL, NULL, NULL)",
            "ROW('', 0, NULL)",
        ],
    ),
    (
        "app.calle[]",
        &[r#"ARRAY[ROW('a,"b', 1, NULL)::app.calle, NULL]"#],
    ),
    (
        "app.direccion",
        &[r#"ROW(ROW('c"d', 1, '2024-01-01')::app.calle, ARRAY['x,y', NULL, '"'], true)"#],
    ),
];

async fn compared(more: &[(&str, &[&str])], setup: &str) {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let admin = database.client().await.unwrap();
    admin.batch_execute(SCHEMA).await.unwrap();
    admin.batch_execute(setup).await.unwrap();
    let all: Vec<(&str, &str)> = VALUES
        .iter()
        .chain(more)
        .flat_map(|(name, values)| values.iter().map(move |value| (*name, *value)))
        .collect();
    let columns: Vec<String> = all
        .iter()
        .enumerate()
        .map(|(index, (name, _))| format!("c{index} {name}"))
        .collect();
    admin
        .batch_execute(&format!(
            "CREATE TABLE app.t (id int PRIMARY KEY, {})",
            columns.join(", ")
        ))
        .await
        .unwrap();
    let spec = WatchSpec {
        // Whole old rows as well.
        old: true,
        ..WatchSpec::new("t", "app", "t")
    };
    let target = target(&database, vec![spec]);
    install(&admin, &target).await.unwrap();
    let mut stream = Stream::start(&database.url(), &target, &Memory::default());
    let values: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("({value})::{name}"))
        .collect();
    // A writer with other habits.
    admin
        .batch_execute(&format!(
            "SET timezone = 'America/New_York'; SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape';
             SET extra_float_digits = -3; SET search_path = app, public;
             INSERT INTO app.t VALUES (1, {}); INSERT INTO app.t (id) VALUES (2); UPDATE app.t SET id = 3 WHERE id = 1; DELETE FROM app.t WHERE id = 3",
            values.join(", ")
        ))
        .await
        .unwrap();
    let changes = stream.changes(4).await;
    admin
        .batch_execute(
            "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex';
             SET extra_float_digits = 1; SET search_path = pg_catalog",
        )
        .await
        .unwrap();
    let json = async |id: i32| -> String {
        let sql = format!(
            "SELECT row_to_json(t)::text FROM (SELECT {id} AS id, {}) AS t",
            values
                .iter()
                .enumerate()
                .map(|(index, value)| format!("{value} AS c{index}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        admin.query_one(&sql, &[]).await.unwrap().get(0)
    };
    let text = |bytes: &Option<bytes::Bytes>| String::from_utf8(bytes.as_ref().unwrap().to_vec()).unwrap();
    same(&text(&changes[0].row), &json(1).await, &all);
    let nulls: String = admin
        .query_one("SELECT row_to_json(t)::text FROM app.t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(text(&changes[1].row), nulls);
    same(&text(&changes[2].old), &json(1).await, &all);
    same(&text(&changes[2].row), &json(3).await, &all);
    same(&text(&changes[3].old), &json(3).await, &all);
}

/// Column by column, so that a difference names its type.
fn same(got: &str, expected: &str, all: &[(&str, &str)]) {
    type Row<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;
    let (left, right): (Row<'_>, Row<'_>) = (
        serde_json::from_str(got).unwrap(),
        serde_json::from_str(expected).unwrap(),
    );
    for (index, (name, value)) in all.iter().enumerate() {
        let column = format!("c{index}");
        assert_eq!(left[&column].get(), right[&column].get(), "{name} of {value}");
    }
    assert_eq!(got, expected);
}

#[tokio::test]
async fn every_type_is_written_as_row_to_json_writes_it() {
    // What jsonb could not hold.
    compared(&[("json", &[r#"'{"u": "\u0000"}'"#])], "").await;
}

/// hstore has a cast to json, which only the server can apply; so it renders the rows.
#[tokio::test]
async fn a_type_with_a_json_form_of_its_own_is_rendered_by_the_server() {
    compared(
        &[
            ("app.hstore", &[r#"'a=>1, "b c"=>NULL'"#]),
            ("app.hstore[]", &["ARRAY['a=>1'::app.hstore]"]),
        ],
        HSTORE,
    )
    .await;
}
