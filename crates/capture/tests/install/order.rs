//! The order of one row's changes beside triggers of the application: a collection that is kept by key from what is captured
//! equals the table, whatever triggers there are and whenever they came.

use std::collections::BTreeMap;

use pregon_capture::install::{self, Mode, Target, WatchSpec};
use pregon_testkit::postgres::{Database, shared};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Client;

use crate::kit::{ALL, install, listen, watch};

const MODES: [Mode; 2] = [Mode::Notify, Mode::Outbox];

/// A database whose captured changes are read without a gateway.
struct Scene {
    _db: Database<'static>,
    admin: Client,
    target: Target,
    payloads: UnboundedReceiver<String>,
    read: i64,
}

/// What one payload or one row of the outbox says.
#[derive(Debug, Clone)]
struct Told {
    watch: String,
    op: String,
    new: Value,
    old: Value,
}

impl Scene {
    async fn new(mode: Mode, schema: &str, watches: Vec<WatchSpec>) -> Self {
        let db = Database::create(shared().await).await.unwrap();
        let admin = db.client().await.unwrap();
        admin
            .batch_execute("SET client_min_messages = error")
            .await
            .unwrap();
        admin.batch_execute(schema).await.unwrap();
        let payloads = listen(&db.url()).await;
        let target = Target {
            watches,
            mode,
            ..Target::default()
        };
        install(&admin, &target).await.unwrap();
        Self {
            _db: db,
            admin,
            target,
            payloads,
            read: 0,
        }
    }

    async fn run(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap();
    }

    /// What was captured since the last question, in the order in which clients are told.
    async fn told(&mut self) -> Vec<Told> {
        if self.target.mode == Mode::Outbox {
            return self.rows().await;
        }
        self.run("SELECT pg_notify('pregon', 'END')").await;
        let mut told = Vec::new();
        loop {
            let text = self.payloads.recv().await.unwrap();
            if text == "END" {
                return told;
            }
            let payload: Value = serde_json::from_str(&text).unwrap();
            let failed = !payload["err"].is_null();
            told.push(Told {
                watch: payload["w"].as_str().unwrap().to_owned(),
                op: if failed {
                    "E"
                } else {
                    payload["op"].as_str().unwrap()
                }
                .to_owned(),
                new: if failed { &payload["err"] } else { &payload["n"] }.clone(),
                old: payload["o"].clone(),
            });
        }
    }

    async fn rows(&mut self) -> Vec<Told> {
        const SQL: &str = "SELECT id, watch, op::text, row, old FROM pregon.outbox WHERE id > $1 ORDER BY id";
        let rows = self.admin.query(SQL, &[&self.read]).await.unwrap();
        let json = |text: Option<&str>| {
            text.map_or(Value::Null, |text| {
                serde_json::from_str(text).unwrap_or(text.into())
            })
        };
        let told = rows.iter().map(|row| {
            self.read = row.get(0);
            Told {
                watch: row.get(1),
                op: row.get(2),
                new: json(row.get(3)),
                old: json(row.get(4)),
            }
        });
        told.collect()
    }

    /// Operations with one field of their rows, as `I 1`.
    async fn brief(&mut self, field: &str) -> Vec<String> {
        let told = self.told().await;
        let row = |one: &Told| {
            if one.new.is_null() {
                one.old.clone()
            } else {
                one.new.clone()
            }
        };
        told.iter()
            .map(|one| format!("{} {}", one.op, row(one)[field]))
            .collect()
    }

    async fn table(&self, name: &str) -> BTreeMap<i64, Value> {
        let rows = self
            .admin
            .query(
                &format!("SELECT id::bigint, row_to_json(t)::text FROM {name} t"),
                &[],
            )
            .await
            .unwrap();
        rows.iter()
            .map(|row| (row.get(0), serde_json::from_str(row.get(1)).unwrap()))
            .collect()
    }
}

/// What a client that keeps rows by `id` has after it was told.
#[derive(Debug, Default)]
struct Collection {
    rows: BTreeMap<i64, Value>,
    gaps: Vec<Value>,
}

impl Collection {
    fn take(&mut self, watch: &str, told: &[Told]) {
        let id = |row: &Value| row["id"].as_i64().unwrap();
        for one in told.iter().filter(|one| one.watch == watch) {
            match one.op.as_str() {
                "I" | "U" => {
                    // An update of the key says the old one only to those who want it.
                    if !one.old.is_null() && one.op == "U" {
                        self.rows.remove(&id(&one.old));
                    }
                    self.rows.insert(id(&one.new), one.new.clone());
                }
                "D" => {
                    self.rows.remove(&id(&one.old));
                }
                "T" => self.rows.clear(),
                _ => self.gaps.push(one.new.clone()),
            }
        }
    }
}

const HANDLER: &str = "
    CREATE FUNCTION handle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      UPDATE t SET total = NEW.n * 10 WHERE id = NEW.id; RETURN NULL; END $$;";
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, total int);";

#[tokio::test]
async fn a_trigger_that_updates_the_new_row_comes_after_the_insert() {
    for mode in MODES {
        let schema = format!(
            "{TABLE}{HANDLER} CREATE TRIGGER \"00\" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION handle()"
        );
        let mut scene = Scene::new(mode, &schema, vec![watch("t", "t", &ALL)]).await;
        scene.run("INSERT INTO t VALUES (1, 1), (2, 2)").await;
        assert_eq!(
            scene.brief("total").await,
            ["I null", "U 10", "I null", "U 20"],
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn triggers_that_come_later_do_not_leave_clients_behind() {
    let bodies = [
        "UPDATE t SET total = NEW.n * 10 WHERE id = NEW.id",
        "DELETE FROM t WHERE id = NEW.id",
        "UPDATE t SET total = coalesce(total, 0) + 1 WHERE n >= NEW.n",
    ];
    for (mode, body) in MODES.into_iter().flat_map(|mode| bodies.map(|body| (mode, body))) {
        let mut scene = Scene::new(mode, TABLE, vec![watch("t", "t", &ALL)]).await;
        let function = format!(
            "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;
             CREATE TRIGGER later AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION later()"
        );
        scene.run(&function).await;
        scene.run("INSERT INTO t VALUES (1, 1), (2, 2), (3, 1)").await;
        let mut client = Collection::default();
        client.take("t", &scene.told().await);
        assert_eq!(client.rows, scene.table("t").await, "{mode:?} {body}");
        assert!(client.gaps.is_empty(), "{:?}", client.gaps);
    }
}

/// The trigger of a row writes the next one, whose own turn comes later: no name helps against it.
#[tokio::test]
async fn a_row_whose_turn_comes_later_is_told_as_it_is() {
    const CURRENT: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, current bool DEFAULT true);
        CREATE FUNCTION one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          UPDATE t SET current = false WHERE n = NEW.n AND id <> NEW.id; RETURN NEW; END $$;
        CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION one()";
    for mode in MODES {
        let full = WatchSpec {
            condition: Some("current".into()),
            old: true,
            ..watch("w", "t", &ALL)
        };
        let mut scene = Scene::new(mode, CURRENT, vec![watch("t", "t", &ALL), full]).await;
        scene.run("INSERT INTO t VALUES (1, 1), (2, 1), (3, 1)").await;
        let told = scene.told().await;
        let (mut all, mut current) = (Collection::default(), Collection::default());
        all.take("t", &told);
        current.take("w", &told);
        let table = scene.table("t").await;
        assert_eq!(all.rows, table, "{mode:?} {told:?}");
        assert_eq!(current.rows.keys().collect::<Vec<_>>(), [&3], "{mode:?} {told:?}");
    }
}

/// What a foreign key writes waits behind what a trigger of the other table writes.
#[tokio::test]
async fn a_cascade_and_a_trigger_of_the_other_table_end_as_the_table_is() {
    const FAMILY: &str = "CREATE TABLE p (id int PRIMARY KEY);
        CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES p ON UPDATE CASCADE ON DELETE SET NULL, n int DEFAULT 0);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET n = n + 1; RETURN NULL; END $$;
        CREATE TRIGGER touch AFTER UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION touch();
        INSERT INTO p VALUES (1), (2); INSERT INTO t VALUES (1, 1), (2, 2), (3, 1)";
    for mode in MODES {
        let mut scene = Scene::new(mode, FAMILY, vec![watch("t", "t", &ALL)]).await;
        scene
            .run("UPDATE p SET id = id + 10; DELETE FROM p WHERE id = 11")
            .await;
        let mut client = Collection::default();
        client.take("t", &scene.told().await);
        assert_eq!(client.rows, scene.table("t").await, "{mode:?}");
    }
}

/// The leaf may have its columns in another order, and its key is that of the root.
#[tokio::test]
async fn partitions_and_keys_of_several_columns_are_read_again_too() {
    const PARTS: &str = "CREATE TABLE t (g text, id int, n int DEFAULT 0, PRIMARY KEY (g, id)) PARTITION BY LIST (g);
        CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a'); CREATE TABLE t_b (n int DEFAULT 0, g text NOT NULL, id int NOT NULL);
        ALTER TABLE t ATTACH PARTITION t_b FOR VALUES IN ('b');
        CREATE FUNCTION all_of_them() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF pg_trigger_depth() = 1 THEN UPDATE t SET n = n + 1 WHERE id > NEW.id; END IF; RETURN NULL; END $$;
        CREATE TRIGGER \"0\" AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION all_of_them()";
    for mode in MODES {
        let old = WatchSpec {
            old: true,
            ..watch("t", "t", &ALL)
        };
        let mut scene = Scene::new(mode, PARTS, vec![old]).await;
        scene.run("INSERT INTO t VALUES ('a', 1), ('b', 2), ('a', 3); UPDATE t SET g = 'b' WHERE id = 3; UPDATE t SET n = 0").await;
        let mut client = Collection::default();
        client.take("t", &scene.told().await);
        assert_eq!(client.rows, scene.table("t").await, "{mode:?}");
        assert!(client.gaps.is_empty(), "{:?}", client.gaps);
    }
}

/// Without a key nobody can say which of two changes was the last: that is a gap, and the plan says so beforehand.
#[tokio::test]
async fn without_a_key_the_order_becomes_a_gap() {
    let schema = format!(
        "CREATE TABLE t (id int, n int, total int);{HANDLER}
         CREATE TRIGGER h AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION handle()"
    );
    for mode in MODES {
        let mut scene = Scene::new(mode, &schema, vec![watch("t", "t", &ALL)]).await;
        let plan = install::plan(&scene.admin, &scene.target).await.unwrap();
        let warnings = plan.warnings.join("; ");
        assert!(
            warnings.contains("trigger h") && warnings.contains("no primary key"),
            "{warnings}"
        );
        scene.run("INSERT INTO t VALUES (1, 1), (2, 2)").await;
        let mut client = Collection::default();
        client.take("t", &scene.told().await);
        assert!(!client.gaps.is_empty(), "{mode:?}");
    }
}

#[tokio::test]
async fn row_security_makes_a_late_change_a_gap_and_never_a_false_delete() {
    let schema = format!(
        "{TABLE} ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; {HANDLER}
         CREATE FUNCTION all_of_them() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET total = 1; RETURN NULL; END $$;
         CREATE TRIGGER h AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION all_of_them()"
    );
    for mode in MODES {
        let mut scene = Scene::new(mode, &schema, vec![watch("t", "t", &ALL)]).await;
        scene.run("INSERT INTO t VALUES (1, 1), (2, 2)").await;
        let told = scene.told().await;
        assert!(told.iter().any(|one| one.op == "E"), "{told:?}");
        assert!(!told.iter().any(|one| one.op == "D"), "{told:?}");
    }
}

/// Moved by the next installation; the table's owner keeps a wish.
#[tokio::test]
async fn an_old_installation_is_moved_to_the_names_that_come_first() {
    for mode in MODES {
        let mut scene = Scene::new(mode, TABLE, vec![watch("t", "t", &ALL)]).await;
        scene
            .run(
                "ALTER TRIGGER \"!pregon_t\" ON t RENAME TO pregon_t;
                 ALTER TRIGGER \"!pregon_t_update\" ON t RENAME TO pregon_t_update;
                 ALTER TABLE t ENABLE ALWAYS TRIGGER pregon_t_update",
            )
            .await;
        let plan = install(&scene.admin, &scene.target).await.unwrap();
        assert!(plan.is_sufficient(), "what is there captures all: {plan}");
        let names = "SELECT string_agg(tgname || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal";
        let row = scene.admin.query_one(names, &[]).await.unwrap();
        assert_eq!(
            row.get::<_, String>(0),
            "!pregon_tO,!pregon_t_truncateO,!pregon_t_updateA"
        );
        assert!(
            install::plan(&scene.admin, &scene.target)
                .await
                .unwrap()
                .is_empty()
        );
        scene.run("INSERT INTO t VALUES (1, 1); UPDATE t SET n = 2").await;
        assert_eq!(scene.brief("n").await, ["I 1", "U 2"]);
        let mut removal = install::drop(&scene.admin).await.unwrap();
        // Roles belong to the whole server, where other tests install.
        removal.steps.retain(|step| !step.object.starts_with("role "));
        install::apply(&scene.admin, &removal, &mut |_| {}).await.unwrap();
        let left = scene
            .admin
            .query_one("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal", &[]);
        assert_eq!(left.await.unwrap().get::<_, i64>(0), 0);
    }
}

/// How many sets of triggers are tried; a long run sets PREGON_ORDER_SEEDS, and PREGON_ORDER_SEED plays one again.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("PREGON_ORDER_SEED") {
        return vec![seed];
    }
    (0..number("PREGON_ORDER_SEEDS").unwrap_or(12)).collect()
}

#[tokio::test]
async fn a_collection_equals_the_table_with_any_triggers() {
    for seed in seeds() {
        for mode in MODES {
            random_triggers(mode, seed).await;
        }
    }
}

async fn random_triggers(mode: Mode, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let schema = "CREATE TABLE a (id int PRIMARY KEY, g int, n int DEFAULT 0,
            up int REFERENCES a ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE);
        CREATE TABLE b (id int PRIMARY KEY, g int, n int DEFAULT 0, up int REFERENCES a ON UPDATE CASCADE ON DELETE CASCADE)";
    let watches = ["a", "b"].map(|name| WatchSpec {
        trigger: random.random_bool(0.2).then(|| format!("named_{name}")),
        old: true,
        ..watch(name, name, &ALL)
    });
    let mut script = Vec::new();
    let triggers: Vec<String> = (0..random.random_range(1..5))
        .map(|number| trigger(&mut random, number))
        .collect();
    let (before, after) = triggers.split_at(random.random_range(0..=triggers.len()));
    script.extend(before.iter().cloned());
    let mut scene = Scene::new(mode, &format!("{schema};{}", before.join(";")), watches.to_vec()).await;
    for sql in after {
        scene.run(sql).await;
        script.push(sql.clone());
    }
    let (mut a, mut b) = (Collection::default(), Collection::default());
    for _ in 0..14 {
        let sql = statement(&mut random);
        // Some of them PostgreSQL refuses: a row that a BEFORE trigger has changed already, or a key that is there.
        let done = scene.admin.batch_execute(&sql).await;
        if done.is_err() {
            let _ = scene.admin.batch_execute("ROLLBACK").await;
        }
        script.push(format!(
            "{sql} -- {}",
            if done.is_ok() { "done" } else { "refused" }
        ));
        let told = scene.told().await;
        a.take("a", &told);
        b.take("b", &told);
        let replay = format!(
            "PREGON_ORDER_SEED={seed} {mode:?}\n{}\n{told:#?}",
            script.join(";\n")
        );
        assert_eq!(a.rows, scene.table("a").await, "{replay}");
        assert_eq!(b.rows, scene.table("b").await, "{replay}");
        assert!(
            a.gaps.is_empty() && b.gaps.is_empty(),
            "{:?} {:?} {replay}",
            a.gaps,
            b.gaps
        );
    }
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len())]
}

/// A trigger of one of the tables that writes into one of them.
fn trigger(random: &mut StdRng, number: usize) -> String {
    let table = pick(random, &["a", "b"]);
    let other = pick(random, &["a", "b"]);
    let level = pick(random, &["ROW", "ROW", "STATEMENT"]);
    let event = pick(random, &["INSERT", "UPDATE", "DELETE", "INSERT OR UPDATE"]);
    let time = pick(random, &["AFTER", "AFTER", "BEFORE"]);
    let prefix = pick(random, &[" ", "00_", "A", "_", "pregon_", "zz_", "~"]);
    let row = if event == "DELETE" { "OLD" } else { "NEW" };
    let body = if level == "ROW" {
        let actions = [
            format!("UPDATE {table} SET n = n + 10 WHERE id = {row}.id"),
            format!("UPDATE {other} SET n = n + 1 WHERE g = {row}.g AND id <> {row}.id"),
            format!("UPDATE {other} SET n = n + 1 WHERE g = {row}.g"),
            format!("DELETE FROM {other} WHERE g = {row}.g AND n > 20"),
            format!(
                "INSERT INTO {other} (id, g) VALUES ({row}.id + 1000, {row}.g) ON CONFLICT (id) DO UPDATE SET n = {other}.n + 1"
            ),
        ];
        actions[random.random_range(0..actions.len())].clone()
    } else {
        let actions = [
            format!("UPDATE {other} SET n = n + 1"),
            format!("DELETE FROM {other} WHERE n > 30"),
            format!("UPDATE {table} SET n = n + 1 WHERE id % 2 = 0"),
        ];
        actions[random.random_range(0..actions.len())].clone()
    };
    let result = if level == "ROW" { row } else { "NULL" };
    format!(
        "CREATE FUNCTION f{number}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF pg_trigger_depth() < 3 THEN {body}; END IF; RETURN {result}; END $$;
         CREATE TRIGGER \"{prefix}{number}\" {time} {event} ON {table} FOR EACH {level} EXECUTE FUNCTION f{number}()"
    )
}

fn statement(random: &mut StdRng) -> String {
    let table = pick(random, &["a", "a", "b"]);
    let (id, g) = (random.random_range(0..30), random.random_range(0..3));
    match random.random_range(0..10) {
        0..3 => format!(
            "INSERT INTO {table} (id, g, up) SELECT i, i % 3, (SELECT id FROM a WHERE a.id < i LIMIT 1)
               FROM generate_series({id}, {id} + {g}) i ON CONFLICT DO NOTHING"
        ),
        3 => format!(
            "INSERT INTO {table} (id, g) SELECT i, i % 3 FROM generate_series({id}, {id} + 4) i
               ON CONFLICT (id) DO UPDATE SET n = {table}.n + 1"
        ),
        4 => format!("UPDATE {table} SET n = n + 1 WHERE g = {g}"),
        5 => format!("UPDATE a SET id = id + 100 WHERE id % 7 = {g}"),
        6 => format!("DELETE FROM {table} WHERE id % 5 = {g}"),
        7 => format!(
            "WITH i AS (INSERT INTO b (id, g) VALUES ({id} + 500, {g})) UPDATE a SET n = n + 1 WHERE g = {g}"
        ),
        8 => format!(
            "BEGIN; UPDATE {table} SET n = n + 1; DELETE FROM a WHERE id = {id}; INSERT INTO a (id, g) VALUES ({id}, {g}); COMMIT"
        ),
        _ => format!(
            "BEGIN; SAVEPOINT s; UPDATE a SET n = n + 5; ROLLBACK TO s; UPDATE {table} SET n = 0 WHERE g = {g}; COMMIT"
        ),
    }
}
