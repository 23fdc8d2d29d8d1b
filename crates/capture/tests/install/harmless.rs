//! Differences that do no harm: what other databases of the server, and other triggers of the table, bring about.

use pregon_capture::install::{self, Mode, Target, plan};
use pregon_testkit::postgres::{Database, Options, Server};

use crate::kit::{ALL, Fixture, install, watch};

/// Roles belong to the whole server: another database's installation makes one that this database could not.
#[tokio::test]
async fn an_owner_that_another_database_made_does_no_harm() {
    let server = Server::start(Options::default()).await.unwrap();
    let (one, other) = (
        Database::create(&server).await.unwrap(),
        Database::create(&server).await.unwrap(),
    );
    let makeshift = one.create_role("makeshift").await.unwrap();
    let grant = format!(
        "GRANT CREATE ON DATABASE {} TO {makeshift}; CREATE SCHEMA app AUTHORIZATION {makeshift};
         SET ROLE {makeshift}; CREATE TABLE app.t (id int PRIMARY KEY, n int)",
        one.name()
    );
    one.execute(&grant).await.unwrap();
    let gateway = one.create_role("gateway").await.unwrap();
    for mode in [Mode::Notify, Mode::Outbox] {
        let target = Target {
            watches: vec![install::WatchSpec::new("t", "app", "t")],
            mode,
            gateway_role: Some(gateway.clone()),
            ..Target::default()
        };
        let role = one.client_as(&makeshift).await.unwrap();
        install(&role, &target).await.unwrap();
        let admin = other.client().await.unwrap();
        install(&admin, &Target::default()).await.unwrap();
        let admin = one.client().await.unwrap();
        let planned = plan(&admin, &target).await.unwrap();
        assert!(!planned.is_empty() && planned.is_sufficient(), "{planned}");
        install(&admin, &target).await.unwrap();
        assert!(plan(&admin, &target).await.unwrap().is_empty());
        for database in [&one, &other] {
            let admin = database.client().await.unwrap();
            let removal = install::drop(&admin).await.unwrap();
            install::apply(&admin, &removal, &mut |_| {}).await.unwrap();
        }
    }
}

/// What makes capture wrong is still refused.
#[tokio::test]
async fn what_makes_capture_wrong_is_needed() {
    let broken = [
        "ALTER TABLE t DISABLE TRIGGER \"!pregon_t_update\"",
        "DROP TRIGGER \"!pregon_t_update\" ON t",
        "CREATE TRIGGER twice AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION pregon.notify_t('t')",
        "ALTER FUNCTION pregon.notify_t() SECURITY INVOKER",
        "DROP TRIGGER \"!pregon_t_update\" ON t;
         CREATE TRIGGER \"!pregon_t_update\" AFTER UPDATE OR DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION pregon.notify_t('t')",
        "DROP TRIGGER \"!pregon_t\" ON t;
         CREATE TRIGGER \"!pregon_t\" AFTER INSERT ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION pregon.notify_t('t')",
    ];
    for sql in broken {
        let watches = vec![watch("t", "t", &ALL)];
        let f = Fixture::new("CREATE TABLE t (id int PRIMARY KEY, n int)", watches.clone()).await;
        f.admin.batch_execute(sql).await.unwrap();
        let target = Target {
            watches,
            ..Target::default()
        };
        let planned = plan(&f.admin, &target).await.unwrap();
        assert!(!planned.is_sufficient(), "{sql}: {planned}");
        install(&f.admin, &target).await.unwrap();
        assert!(plan(&f.admin, &target).await.unwrap().is_empty(), "{sql}");
    }
}
