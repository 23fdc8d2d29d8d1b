//! What a watch costs the application's writers: pgbench inserts with it (by NOTIFY and by the outbox), without, and with the barest NOTIFY trigger.

use std::collections::BTreeMap;

use pregon_testkit::Database;

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    pgbench,
    report::{Bar, Figure, Report, Table, median, short},
};

const CLIENTS: [usize; 3] = [1, 8, 32];
const COLUMNS: &str =
    "(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, producto text, cantidad int, total numeric)";
const BARE_TRIGGER: &str = "CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS \
    $$BEGIN PERFORM pg_notify('bare', row_to_json(NEW)::text); RETURN NEW; END$$; \
    CREATE TRIGGER tell AFTER INSERT ON public.bare FOR EACH ROW EXECUTE FUNCTION public.tell()";

/// Tables: without anything, with a bare NOTIFY trigger, with our watch by NOTIFY and by the outbox.
const PLAIN: &str = "plain";
const BARE: &str = "bare";
const WATCHED: &str = "bench";
const OUTBOX: &str = "outbox";

type Rates = BTreeMap<(usize, &'static str), Vec<f64>>;

pub(crate) fn run(effort: Effort) -> anyhow::Result<Report> {
    let runtime = super::runtime()?;
    let server = runtime.block_on(super::postgres_with_fsync())?;
    let database = runtime.block_on(Database::create(&server))?;
    let second = runtime.block_on(Database::create(&server))?;
    for table in [PLAIN, BARE, WATCHED] {
        runtime.block_on(database.execute(&format!("CREATE TABLE public.{table} {COLUMNS}")))?;
    }
    runtime.block_on(second.execute(&format!("CREATE TABLE public.{WATCHED} {COLUMNS}")))?;
    runtime.block_on(database.execute(BARE_TRIGGER))?;
    let mut notes = vec![format!(
        "pgbench, single-row INSERTs in transactions of their own, fsync on, everything on the same {} cores; medians of {} \
         interleaved passes. The gateways are attached and have no clients.",
        crate::usage::cores(),
        effort.passes
    )];
    let mut tables = vec![PLAIN, BARE];
    let gateways = match Kind::Ours.obstacle() {
        Some(obstacle) => {
            notes.push(format!("pregón is left out: {obstacle}"));
            None
        }
        None => {
            tables.extend([WATCHED, OUTBOX]);
            let start = |database: &Database<'_>, capture| {
                Running::start(Kind::Ours, &super::watch(&database.url(), capture), None)
            };
            Some([start(&database, "notify")?, start(&second, "outbox")?])
        }
    };
    let mut rates = Rates::new();
    for _ in 0..effort.passes {
        for clients in CLIENTS {
            for &table in &tables {
                let (database, name) = match table {
                    OUTBOX => (&second, WATCHED),
                    table => (&database, table),
                };
                let seconds = if effort.quick { 1 } else { 5 };
                let rate = pgbench::inserts(&server, database, name, clients, seconds)?;
                rates.entry((clients, table)).or_default().push(rate);
            }
        }
    }
    drop(gateways);
    notes.push(REASON.into());
    Ok(report(&rates, notes, effort.quick))
}

const REASON: &str = "Why: PostgreSQL takes one lock for the whole cluster when a transaction that has notified commits, and \
    holds it until the commit is on disk, so such commits neither overlap nor share an fsync: with many writers the loss is \
    what the bare NOTIFY trigger loses too. With one writer it is the trigger's work and the listener, which every commit \
    wakes and which runs on the same cores. What our trigger adds to a bare one is the sequence number, the clock, the \
    JSON and the guarded block. The outbox avoids the lock: its transactions notify only while few of them write. It costs \
    one more row for each, and the gateway that reads them on the same cores.";

fn report(rates: &Rates, notes: Vec<String>, quick: bool) -> Report {
    let rate = |clients, table| median(rates.get(&(clients, table)).map_or(&[][..], Vec::as_slice));
    let mut figures = Vec::new();
    let mut table = Table::new(&[
        "clients",
        "without tps",
        "bare NOTIFY tps",
        "watch by NOTIFY tps",
        "watch by outbox tps",
        "bare / without",
        "NOTIFY / without",
        "outbox / without",
    ]);
    for clients in CLIENTS {
        let [plain, bare, watched, outbox] = [PLAIN, BARE, WATCHED, OUTBOX].map(|table| rate(clients, table));
        for (way, ours) in [("NOTIFY", watched), ("outbox", outbox)] {
            for (against, theirs) in [("without a watch", plain), ("bare NOTIFY trigger", bare)] {
                figures.push(Figure {
                    what: format!("inserts, {clients} clients, watch by {way}"),
                    ours,
                    unit: "tps",
                    against,
                    theirs,
                    bar: Bar::None,
                });
            }
        }
        let cells = [
            plain,
            bare,
            watched,
            outbox,
            bare / plain,
            watched / plain,
            outbox / plain,
        ];
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
