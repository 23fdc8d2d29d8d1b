//! Two databases of one server share our roles: one installs while the other removes.

use pregon_capture::install::{self, InstallError, Mode, Target, plan};
use pregon_testkit::postgres::{Database, Options, Server};
use tokio_postgres::Client;

use crate::kit::{ALL, install, watch};

fn target(mode: Mode) -> Target {
    Target {
        mode,
        watches: vec![watch("t", "t", &ALL)],
        ..Target::default()
    }
}

async fn remove(client: &Client) -> Result<(), InstallError> {
    let removal = install::drop(client).await?;
    install::apply(client, &removal, &mut |_| {}).await
}

async fn roles(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pregon%'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// A server of its own: roles belong to all databases.
async fn two(server: &Server) -> (Database<'_>, Database<'_>) {
    let (first, second) = (
        Database::create(server).await.unwrap(),
        Database::create(server).await.unwrap(),
    );
    for database in [&first, &second] {
        database
            .execute("CREATE TABLE public.t (id int PRIMARY KEY)")
            .await
            .unwrap();
    }
    (first, second)
}

#[tokio::test]
async fn roles_that_go_between_plan_and_application_are_made_again() {
    let server = Server::start(Options::default()).await.unwrap();
    for (mode, superuser) in [(Mode::Notify, true), (Mode::Outbox, true), (Mode::Outbox, false)] {
        let (first, second) = two(&server).await;
        let (remover, mut installer) = (first.client().await.unwrap(), second.client().await.unwrap());
        if !superuser {
            let role = second.create_role("installer").await.unwrap();
            let rights = format!(
                "ALTER ROLE {role} CREATEROLE; GRANT CREATE ON DATABASE {} TO {role}; GRANT CREATE ON SCHEMA public TO {role};
                 ALTER TABLE public.t OWNER TO {role}",
                second.name()
            );
            installer.batch_execute(&rights).await.unwrap();
            installer = second.client_as(&role).await.unwrap();
        }
        install(&remover, &target(mode)).await.unwrap();
        let planned = plan(&installer, &target(mode)).await.unwrap();
        remove(&remover).await.unwrap();
        assert_eq!(roles(&remover).await, 0);
        let applied = install::apply(&installer, &planned, &mut |_| {}).await;
        if let Err(error) = applied {
            panic!("{mode:?} {superuser}: {error}");
        }
        let left = plan(&installer, &target(mode)).await.unwrap();
        assert!(superuser && left.is_empty() || left.is_sufficient(), "{left}");
        installer
            .batch_execute("INSERT INTO public.t VALUES (1)")
            .await
            .unwrap();
        remove(&installer).await.unwrap();
        assert_eq!(roles(&remover).await, 0);
    }
}

/// Both at it, without a pause.
#[tokio::test]
async fn two_databases_install_and_remove_side_by_side() {
    let server = Server::start(Options::default()).await.unwrap();
    let (first, second) = two(&server).await;
    let work = async |database: &Database<'_>| {
        let client = database.client().await.unwrap();
        for round in 0..25 {
            let installed = install(&client, &target(Mode::Notify)).await;
            assert!(installed.is_ok(), "{round}: {installed:?}");
            client
                .batch_execute(&format!("INSERT INTO public.t VALUES ({round})"))
                .await
                .unwrap();
            let removed = remove(&client).await;
            assert!(removed.is_ok(), "{round}: {removed:?}");
        }
    };
    tokio::join!(work(&first), work(&second));
    assert_eq!(roles(&first.client().await.unwrap()).await, 0);
}
