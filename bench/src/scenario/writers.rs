//! What a watch costs the application's writers: pgbench inserts with it, without, and with the barest NOTIFY trigger.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, ensure};
use pregon_testkit::{Database, Server};

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    report::{Bar, Figure, Report, Table, median, short},
};

const CLIENTS: [usize; 3] = [1, 8, 32];
const COLUMNS: &str =
    "(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text, cantidad int, total numeric)";
const BARE_TRIGGER: &str = "CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS \
    $$BEGIN PERFORM pg_notify('bare', row_to_json(NEW)::text); RETURN NEW; END$$; \
    CREATE TRIGGER tell AFTER INSERT ON public.bare FOR EACH ROW EXECUTE FUNCTION public.tell()";

/// Tables: without anything, with a bare NOTIFY trigger, with our watch.
const PLAIN: &str = "plain";
const BARE: &str = "bare";
const WATCHED: &str = "bench";

type Rates = BTreeMap<(usize, &'static str), Vec<f64>>;

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let runtime = super::runtime()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let database = runtime.block_on(Database::create(&server))?;
    for table in [PLAIN, BARE, WATCHED] {
        runtime.block_on(database.execute(&format!("CREATE TABLE public.{table} {COLUMNS}")))?;
    }
    runtime.block_on(database.execute(BARE_TRIGGER))?;
    let mut notes = vec![format!(
        "pgbench, single-row INSERTs in transactions of their own, fsync on, everything on the same {} cores; medians of {} \
         interleaved passes. The gateway is attached and has no clients.",
        crate::usage::cores(),
        effort.passes
    )];
    let mut tables = vec![PLAIN, BARE];
    let gateway = match Kind::Ours.obstacle() {
        Some(obstacle) => {
            notes.push(format!("pregón is left out: {obstacle}"));
            None
        }
        None => {
            tables.push(WATCHED);
            Some(Running::start(
                Kind::Ours,
                &super::watch(&database.url(), "notify"),
                None,
            )?)
        }
    };
    let mut rates = Rates::new();
    for _ in 0..effort.passes {
        for clients in CLIENTS {
            for &table in &tables {
                let rate = pgbench(
                    &server,
                    &database,
                    table,
                    clients,
                    if effort.quick { 1 } else { 5 },
                )?;
                rates.entry((clients, table)).or_default().push(rate);
            }
        }
    }
    drop(gateway);
    notes.push(REASON.into());
    Ok(report(&rates, notes, effort.quick))
}

const REASON: &str = "Why: PostgreSQL takes one lock for the whole cluster when a transaction that has notified commits, and \
    holds it until the commit is on disk, so such commits neither overlap nor share an fsync: with many writers the loss is \
    what the bare NOTIFY trigger loses too. With one writer it is the trigger's work and the listener, which every commit \
    wakes and which runs on the same cores. What our trigger adds to a bare one is the sequence number, the clock, the \
    JSON and the guarded block.";

fn pgbench(
    server: &Server,
    database: &Database<'_>,
    table: &str,
    clients: usize,
    seconds: u32,
) -> anyhow::Result<f64> {
    let folder = pregon_testkit::process::scratch("pgbench", None)?;
    let script = folder.join("insert.sql");
    let sql = format!(
        "INSERT INTO public.{table} (producto, cantidad, total) VALUES ('Café de olla', 3, 87.50);\n"
    );
    std::fs::write(&script, sql)?;
    let output = Command::new(server.binaries().program("pgbench"))
        .args([
            "-n",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-p",
            &server.port().to_string(),
        ])
        .args([
            "-c",
            &clients.to_string(),
            "-j",
            &clients.min(2).to_string(),
            "-T",
            &seconds.to_string(),
        ])
        .arg("-f")
        .arg(&script)
        .arg(database.name())
        .output()
        .context("starting pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {text}{errors}");
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = rate.and_then(|rest| rest.split(' ').next());
    Ok(number.with_context(|| format!("no rate in {text}"))?.parse()?)
}

fn report(rates: &Rates, notes: Vec<String>, quick: bool) -> Report {
    let rate = |clients, table| median(rates.get(&(clients, table)).map_or(&[][..], Vec::as_slice));
    let mut figures = Vec::new();
    let mut table = Table::new(&[
        "clients",
        "without tps",
        "bare NOTIFY tps",
        "watch tps",
        "bare / without",
        "watch / without",
    ]);
    for clients in CLIENTS {
        let (plain, bare, watched) = (rate(clients, PLAIN), rate(clients, BARE), rate(clients, WATCHED));
        for (against, theirs) in [("without a watch", plain), ("bare NOTIFY trigger", bare)] {
            figures.push(Figure {
                what: format!("inserts, {clients} clients, watch on"),
                ours: watched,
                unit: "tps",
                against,
                theirs,
                bar: Bar::None,
            });
        }
        let cells = [plain, bare, watched, bare / plain, watched / plain];
        let mut row = vec![clients.to_string()];
        row.extend(cells.map(|value| {
            if value.is_nan() {
                "–".into()
            } else {
                short(value)
            }
        }));
        table.rows.push(row);
    }
    figures.retain(|figure| !figure.ours.is_nan());
    Report {
        scenario: "writers",
        notes,
        figures,
        table,
        quick,
    }
}
