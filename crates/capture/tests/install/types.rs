//! Types in schemas of their own: what makes JSON of them runs as the owner of the trigger function, and has to find what it looks for.

use pregon_capture::install::{self, Mode, Plan, Target, WatchSpec, plan};
use tokio_postgres::Client;

use crate::kit::{ALL, Fixture, install};

/// A cast to json whose function looks for a table of its schema, as that of PostGIS does; used as it is and within other types.
const FORMS: &str = "
    CREATE SCHEMA geo; CREATE SCHEMA app; CREATE SCHEMA parts;
    CREATE TYPE geo.forma AS ENUM ('a', 'b');
    CREATE TABLE geo.nombres (forma geo.forma, nombre text); INSERT INTO geo.nombres VALUES ('a', 'uno'), ('b', 'dos');
    GRANT SELECT ON geo.nombres TO PUBLIC;
    CREATE FUNCTION geo.a_json(geo.forma) RETURNS json LANGUAGE plpgsql AS
      'BEGIN RETURN (SELECT to_json(nombre) FROM geo.nombres WHERE forma = $1); END';
    CREATE CAST (geo.forma AS json) WITH FUNCTION geo.a_json(geo.forma);
    CREATE DOMAIN parts.dominio AS geo.forma; CREATE TYPE parts.compuesto AS (f geo.forma)";

fn target(mode: Mode, gateway: Option<&str>) -> Target {
    Target {
        mode,
        gateway_role: gateway.map(str::to_owned),
        watches: vec![WatchSpec {
            operations: ALL.to_vec(),
            old: true,
            ..WatchSpec::new("t", "app", "t")
        }],
        ..Target::default()
    }
}

/// Rows that were captured, and errors.
async fn captured(f: &mut Fixture, mode: Mode, sql: &str) -> Vec<String> {
    let payloads: Vec<String> = f
        .after(sql)
        .await
        .iter()
        .map(|payload| payload.to_string())
        .collect();
    if mode == Mode::Notify {
        return payloads;
    }
    let rows = f
        .admin
        .query(
            "SELECT op::text || coalesce(row, '') || coalesce(old, '') FROM pregon.outbox ORDER BY id",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn grants(plan: &Plan, schema: &str) -> Vec<String> {
    let grants = plan
        .steps
        .iter()
        .filter(|step| step.object == format!("schema {schema}"));
    grants
        .map(|step| format!("{} {} ({})", step.kind.as_str(), step.sql, step.reason))
        .collect()
}

async fn uses(admin: &Client, role: &str, schema: &str) -> bool {
    let sql = "SELECT has_schema_privilege($1::text::name, $2::text, 'USAGE')";
    admin.query_one(sql, &[&role, &schema]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_type_with_a_json_cast_in_a_schema_of_its_own_is_captured() {
    for mode in [Mode::Notify, Mode::Outbox] {
        for column in [
            "geo.forma",
            "geo.forma[]",
            "parts.dominio",
            "parts.compuesto",
            "parts.compuesto[]",
        ] {
            let mut f = Fixture::new(FORMS, vec![]).await;
            f.admin
                .batch_execute(&format!("CREATE TABLE app.t (id int PRIMARY KEY, f {column})"))
                .await
                .unwrap();
            let role = f.db.create_role("gateway").await.unwrap();
            let target = target(mode, Some(&role));
            let done = install(&f.admin, &target).await.unwrap();
            let told = grants(&done, "geo");
            assert!(
                told.iter()
                    .any(|step| step.contains("TO \"pregon_owner\"") && step.contains("make JSON")),
                "{told:?}"
            );
            assert!(plan(&f.admin, &target).await.unwrap().is_empty());
            let value = match column {
                "geo.forma" | "parts.dominio" => "'a'",
                "geo.forma[]" => "'{a}'",
                "parts.compuesto" => "'(a)'",
                _ => "'{(a)}'",
            };
            let got = captured(
                &mut f,
                mode,
                &format!("INSERT INTO app.t VALUES (1, {value}); UPDATE app.t SET id = 2; DELETE FROM app.t"),
            )
            .await;
            assert_eq!(got.len(), 3, "{got:?}");
            assert!(
                got.iter()
                    .all(|one| one.contains("uno") && !one.contains("42501")),
                "{mode:?} {column}: {got:?}"
            );
            // The gateway's role needs it only where it reads rows itself.
            assert_eq!(uses(&f.admin, &role, "geo").await, mode == Mode::Notify);
            let removal = install::drop(&f.admin).await.unwrap();
            install::apply(&f.admin, &removal, &mut |_| {}).await.unwrap();
            assert!(!uses(&f.admin, &role, "geo").await);
        }
    }
}

/// Their functions look for nothing, but keys are compared by operators of that schema.
#[tokio::test]
async fn extensions_in_a_schema_of_their_own_are_captured() {
    for mode in [Mode::Notify, Mode::Outbox] {
        for (key, value) in [("citext", "Uno"), ("ltree", "uno.dos"), ("hstore", "uno=>1")] {
            let mut f = Fixture::new("", vec![]).await;
            let exists = "SELECT 1 FROM pg_available_extensions WHERE name = $1";
            if f.admin.query(exists, &[&key]).await.unwrap().is_empty() {
                println!("skipped: this PostgreSQL comes without {key}");
                return;
            }
            // What the application's trigger writes is read again by the key.
            f.admin
                .batch_execute(&format!(
                    "CREATE SCHEMA ext; CREATE EXTENSION {key} SCHEMA ext; CREATE SCHEMA app;
                     CREATE TABLE app.t (k ext.{key} PRIMARY KEY, n int);
                     CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS
                       'BEGIN UPDATE app.t SET n = n + 1 WHERE n < 3; RETURN NULL; END';
                     CREATE TRIGGER a AFTER INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()"
                ))
                .await
                .unwrap();
            let target = target(mode, None);
            install(&f.admin, &target).await.unwrap();
            assert!(plan(&f.admin, &target).await.unwrap().is_empty());
            let got = captured(&mut f, mode, &format!("INSERT INTO app.t VALUES ('{value}', 1)")).await;
            assert!(
                !got.is_empty()
                    && got
                        .iter()
                        .all(|one| !one.contains("42501") && !one.contains("42883")),
                "{mode:?} {key}: {got:?}"
            );
        }
    }
}
