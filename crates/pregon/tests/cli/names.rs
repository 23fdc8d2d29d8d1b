//! Names that the database has not: `check --database` and `doctor` tell them with file and line.

use pregon_testkit::{Database, postgres};

use super::{file, run};

const CONFIG: &str = r#"[postgres]
[[watch]]
table = "pedidos"
[[route]]
from = "pedidos"
when = "row.estdo == 'nuevo'"
to = ["cliente_{cliente_id}", "de_{op}"]
payload = { id = "row.id", quien = "row.nombre" }
enrich = { sql = "SELECT nombre FROM clientes WHERE id = :client_id" }
[router]
timezone = "America/Nowhere"
"#;

const TABLES: &str = "CREATE TABLE pedidos (id int PRIMARY KEY, estado text, cliente_id int, op text); \
    CREATE TABLE clientes (id int PRIMARY KEY, nombre text)";

#[tokio::test]
async fn what_the_database_has_not_is_told_with_file_and_line() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    database.execute(TABLES).await.unwrap();
    let config = file(CONFIG);
    let url = database.url();
    let env = [
        ("DATABASE_URL", url.as_str()),
        ("WHATSAPP_APP_SECRET", "s"),
        ("WHATSAPP_VERIFY_TOKEN", "v"),
    ];
    let config = config.to_str().unwrap();
    let alone = run(&["check", "--config", config], &env);
    assert_eq!(alone.code, 0, "{alone:?}");
    let checked = run(&["check", "--database", "--config", config], &env);
    assert_eq!(checked.code, 1, "{checked:?}");
    let found = run(&["doctor", "--json", "--config", config], &env);
    let told: Vec<String> = found
        .json()
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["id"] == "F5" && finding["status"] == "fail")
        .map(|finding| {
            format!(
                "{}; {}",
                finding["detail"].as_str().unwrap(),
                finding["remedy"].as_str().unwrap()
            )
        })
        .collect();
    for (place, words, remedy) in [
        (
            ":6:8: route[0].when: ",
            "no column `estdo`",
            "did you mean `estado`?",
        ),
        (
            ":7:31: route[0].to[1]: ",
            "`op` is the operation, and public.pedidos has a column `op` too",
            "`row.op`",
        ),
        (
            ":9:18: route[0].enrich.sql: ",
            "no column `client_id`",
            "did you mean `cliente_id`?",
        ),
        (
            ":11:12: router.timezone: ",
            "the server knows no time zone `America/Nowhere`",
            "pg_timezone_names",
        ),
    ] {
        let right = |line: &str| line.contains(place) && line.contains(words) && line.contains(remedy);
        assert!(checked.out.lines().any(right), "{place} in {checked:?}");
        assert!(told.iter().any(|line| right(line)), "{place} in {told:?}");
    }
    assert_eq!(checked.out.lines().count(), 4, "{checked:?}");
    let right = CONFIG
        .replace("estdo", "estado")
        .replace("de_{op}", "de_{row.op}")
        .replace(":client_id", ":cliente_id");
    let right = file(&right.replace("America/Nowhere", "America/Argentina/Buenos_Aires"));
    let checked = run(
        &["check", "--database", "--config", right.to_str().unwrap()],
        &env,
    );
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[tokio::test]
async fn types_know_numbers_that_are_texts_and_constraints_that_bind_new_rows_only() {
    let database = Database::create(postgres::shared().await).await.unwrap();
    let client = database.client().await.unwrap();
    database
        .execute("CREATE TABLE t (id bigint PRIMARY KEY, total numeric, n int)")
        .await
        .unwrap();
    let version: i32 = client
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .unwrap()
        .get(0);
    // Before PostgreSQL 18 there are no such constraints on columns.
    let constraint = if version >= 180_000 {
        "ADD CONSTRAINT total_there NOT NULL total NOT VALID"
    } else {
        "ALTER n SET NOT NULL"
    };
    database
        .execute(&format!("ALTER TABLE t {constraint}"))
        .await
        .unwrap();
    let config = file(
        "[postgres]\n[[watch]]\ntable = \"t\"\noperations = [\"insert\"]\n[[route]]\nfrom = \"t\"\nto = \"t\"\nas_text = [\"id\", \"total\"]\n",
    );
    let types = run(
        &["types", "--config", config.to_str().unwrap()],
        &[("DATABASE_URL", &database.url())],
    );
    let event = "insert: { id: string; total: string | null; n: T[\"n\"] };";
    assert!(
        types.out.contains(event) && types.out.contains("  total: number | null;"),
        "{types:?}"
    );
}
