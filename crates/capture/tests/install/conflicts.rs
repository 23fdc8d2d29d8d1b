//! What is refused, and with which words; what `adopt` replaces.

use pregon_capture::change::Op;
use pregon_capture::install::{InstallError, Target, WatchSpec, plan};

use crate::kit::{ALL, Fixture, install, watch};

const SEED: &str = "CREATE TABLE messages (id int PRIMARY KEY, body text);
    CREATE FUNCTION notify_new_message() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN PERFORM pg_notify(''old'', NEW.id::text); RETURN NEW; END';
    CREATE TRIGGER trigger_notify_new_message AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION notify_new_message()";

fn seed_watch(adopt: bool) -> Target {
    let spec = WatchSpec {
        function: Some("public.notify_new_message".into()),
        trigger: Some("trigger_notify_new_message".into()),
        adopt,
        ..watch("messages", "messages", &[Op::Insert])
    };
    Target {
        watches: vec![spec],
        ..Target::default()
    }
}

async fn problems(f: &Fixture, watches: Vec<WatchSpec>) -> Vec<String> {
    match plan(
        &f.admin,
        &Target {
            watches,
            ..Target::default()
        },
    )
    .await
    {
        Err(InstallError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn foreign_objects_are_replaced_only_when_adopted() {
    let mut f = Fixture::new(SEED, vec![]).await;
    let refused = plan(&f.admin, &seed_watch(false)).await.unwrap_err().to_string();
    assert!(
        refused.contains("function public.notify_new_message exists and is not ours"),
        "{refused}"
    );
    assert!(
        refused.contains("trigger trigger_notify_new_message on public.messages"),
        "{refused}"
    );
    assert!(refused.contains("adopt = true"), "{refused}");
    install(&f.admin, &seed_watch(true)).await.unwrap();
    let again = plan(&f.admin, &seed_watch(true)).await.unwrap();
    assert!(again.is_empty(), "{again}");
    let got = f.after("INSERT INTO messages VALUES (1, 'hola')").await;
    assert_eq!(got[0]["n"]["body"], "hola");
    // The names are the configured ones, verbatim.
    let row = f
        .admin
        .query_one("SELECT tgname::text, tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = 'messages'::regclass AND NOT tgisinternal", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get(0), row.get(1)),
        ("trigger_notify_new_message", "notify_new_message")
    );
}

#[tokio::test]
async fn a_function_that_other_triggers_use_is_not_adopted() {
    let f = Fixture::new(SEED, vec![]).await;
    f.admin
        .batch_execute(
            "CREATE TABLE other (id int);
             CREATE TRIGGER x AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION notify_new_message()",
        )
        .await
        .unwrap();
    let refused = plan(&f.admin, &seed_watch(true)).await.unwrap_err().to_string();
    assert!(
        refused.contains("also used by trigger x on public.other"),
        "{refused}"
    );
}

#[tokio::test]
async fn the_first_of_several_triggers_keeps_the_configured_name() {
    let f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY)",
        vec![WatchSpec {
            trigger: Some("mine".into()),
            function: Some("f".into()),
            ..watch("t", "t", &ALL)
        }],
    )
    .await;
    let names = "SELECT tgname::text || ' ' || tgfoid::regproc::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1";
    let names: Vec<String> = f
        .admin
        .query(names, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        names,
        ["mine pregon.f", "mine_truncate pregon.f", "mine_update pregon.f"]
    );
}

#[tokio::test]
async fn everything_wrong_is_reported_at_once() {
    let f = Fixture::new(
        "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE VIEW v AS SELECT 1 AS a; CREATE SCHEMA app; CREATE TABLE app.\"Case\" (id int);
         CREATE TABLE app.\"My.Table\" (id int)",
        vec![],
    )
    .await;
    let cond = |name: &str, text: &str| WatchSpec {
        condition: Some(text.into()),
        ..watch(name, "t", &ALL)
    };
    let long = "x".repeat(64);
    let got = problems(
        &f,
        vec![
            watch("missing", "nowhere", &ALL),
            watch("case", "case", &ALL),
            watch("quoted", "a\"b", &ALL),
            watch("dotted", "my.table", &ALL),
            watch("view", "v", &ALL),
            WatchSpec {
                columns: Some(vec!["nn".into()]),
                ..watch("column", "t", &ALL)
            },
            cond("syntax", "n >"),
            cond("unknown", "m = 1"),
            cond("type", "n + 1"),
            cond("aggregate", "count(*) > 1"),
            cond("statement", "true); DROP TABLE t; --"),
            cond("parameter", "n = $1"),
            cond("system", "xmin IS NULL"),
            WatchSpec {
                trigger: Some(long),
                ..watch("long", "t", &ALL)
            },
            watch("t", "t", &[]),
            watch("t", "t", &ALL),
        ],
    )
    .await;
    let all = got.join("\n");
    for expected in [
        "watch \"missing\": there is no table public.nowhere",
        "did you mean app.Case",
        "watch \"quoted\": there is no table public.\"a\"\"b\": create it",
        "a space or a dot stands in double quotes",
        "did you mean app.\"My.Table\"",
        "watch \"view\": public.v is a view",
        "public.t has no column nn: its columns are id, n",
        "watch \"syntax\": the condition does not compile",
        "column \"m\" does not exist",
        "watch \"type\": the condition does not compile",
        "watch \"aggregate\": the condition does not compile",
        "watch \"statement\": the condition does not compile",
        "watch \"parameter\": the condition has a parameter",
        "watch \"system\": the condition does not compile",
        "watch \"long\": the trigger name",
        "it has no operations",
        "the name is used twice",
    ] {
        assert!(all.contains(expected), "{expected} in\n{all}");
    }
    f.admin.batch_execute("SELECT * FROM t").await.unwrap();
}

#[tokio::test]
async fn a_condition_needs_schemas_for_its_functions() {
    let mut f = Fixture::new(
        "CREATE SCHEMA app; CREATE TABLE t (id int PRIMARY KEY, n int);
         CREATE FUNCTION app.is_open(n int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT n > 0'",
        vec![],
    )
    .await;
    let cond = |text: &str| {
        vec![WatchSpec {
            condition: Some(text.into()),
            ..watch("t", "t", &ALL)
        }]
    };
    let got = problems(&f, cond("is_open(n)")).await.join("\n");
    assert!(got.contains("need their schema"), "{got}");
    let target = Target {
        watches: cond("app.is_open(n)"),
        ..Target::default()
    };
    install(&f.admin, &target).await.unwrap();
    assert!(plan(&f.admin, &target).await.unwrap().is_empty());
    let got = f.after("INSERT INTO t VALUES (1, 1), (2, 0)").await;
    assert_eq!(got.len(), 1);
    assert_eq!(got[0]["n"]["id"], 1);
}

#[tokio::test]
async fn a_role_without_rights_gets_a_clear_answer() {
    let f = Fixture::new("CREATE TABLE t (id int PRIMARY KEY)", vec![]).await;
    let role = f.db.create_role("nobody").await.unwrap();
    let client = f.db.client_as(&role).await.unwrap();
    let target = Target {
        watches: vec![watch("t", "t", &ALL)],
        ..Target::default()
    };
    let error = install(&client, &target).await.unwrap_err();
    assert!(matches!(error, InstallError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("PREGON_ADMIN_URL"), "{error}");
}
