//! The disk log: how long a node needs to start on a large one, how fast one client gets what it missed, and what appending takes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use pregon::{
    event::{Data, Publication},
    log::{
        Append, Log, Open,
        disk::{DiskLog, Keeping, Watcher},
        window::Retention,
    },
    metrics::Metrics,
};
use pregon_testkit::process;

use super::Effort;
use crate::{
    contestant::{Kind, Running},
    load::{
        Protocol,
        frames::{Frames, TEXT, client_frame},
    },
    report::{Bar, Figure, Report, Table, median, short},
};

/// Entries that one client replays.
const REPLAYED: usize = 100_000;
/// Bytes of their payloads.
const PAYLOAD: usize = 200;
/// Bytes of a payload of the large log.
const LARGE: usize = 1000;
/// Entries of a batch.
const BATCH: usize = 1000;
const GIB: u64 = 1 << 30;

/// A bench has no secrets.
struct Sealed;

impl Open for Sealed {
    fn open(&self, _: &mut Publication) {}
}

pub(crate) fn run(effort: Effort, gib: u64) -> anyhow::Result<Report> {
    let gib = if effort.quick { 1 } else { gib };
    let folder = process::scratch("log", None)?;
    let written = write(&folder.join("large"), gib * GIB)?;
    let mut starts = Vec::new();
    for _ in 0..effort.passes {
        starts.push(start(&folder.join("large"))?);
    }
    std::fs::remove_dir_all(folder.join("large"))?;
    let position = prepare(&folder.join("replay"))?;
    let (mut disk, mut window) = (Vec::new(), Vec::new());
    for _ in 0..effort.passes {
        disk.push(replay(&folder.join("replay"), "1MiB", &position)?);
        window.push(replay(&folder.join("replay"), "256MiB", &position)?);
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(report(gib, &written, &starts, (&disk, &window), effort))
}

fn open(folder: &Path) -> anyhow::Result<DiskLog> {
    let keeping = Keeping {
        window: Retention {
            bytes: 64 << 20,
            age: Duration::from_secs(86_400),
        },
        size: u64::MAX,
        segment: 64 << 20,
    };
    let watcher = Watcher {
        metrics: Metrics::new(),
        up: Box::new(|_| {}),
    };
    Ok(DiskLog::open(folder, keeping, Arc::new(Sealed), watcher)?)
}

fn batch(channel: &str, size: usize) -> Vec<Append> {
    let channel: Arc<str> = Arc::from(channel);
    let payload = format!("\"{}\"", "x".repeat(size - 2));
    let one = Publication::new([channel], "tick", Data::Json(payload.into()));
    std::iter::repeat_n(Append::Publication(one), BATCH).collect()
}

/// What was written, and in what time.
struct Written {
    entries: u64,
    seconds: f64,
}

/// A log of so many bytes, left as a killed process leaves it: batches of a thousand on a thousand channels, each waited for by its
/// receipt, eight under way.
fn write(folder: &Path, bytes: u64) -> anyhow::Result<Written> {
    let log = open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begun = Instant::now();
    let (mut receipts, mut entries) = (std::collections::VecDeque::new(), 0);
    while entries * LARGE as u64 <= bytes {
        receipts.push_back(log.append(batch(&format!("c{}", entries / 1000 % 1000), LARGE), None));
        entries += BATCH as u64;
        if receipts.len() == 8
            && let Some(receipt) = receipts.pop_front()
        {
            runtime.block_on(receipt.wait())?;
        }
    }
    for receipt in receipts {
        runtime.block_on(receipt.wait())?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Written { entries, seconds })
}

/// Seconds from the start of the process to `/readyz`.
fn start(data: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let server = Running::start_on(Kind::Ours, "[log]\nsize = \"1000GiB\"\n", None, data)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        server.metric("pregon_log_newest")? > 0.0,
        "the node began a new log: {}",
        server.log()
    );
    Ok(seconds)
}

/// The entries of one replay; returns the position before them.
fn prepare(folder: &Path) -> anyhow::Result<String> {
    let log = open(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for _ in 0..REPLAYED / BATCH {
        runtime.block_on(log.append(batch("bench", PAYLOAD), None).wait())?;
    }
    let position = log.window().position(0).to_string();
    log.close();
    Ok(position)
}

/// Entries a second that one client gets, from its subscribe to the last of them.
fn replay(data: &Path, window: &str, position: &str) -> anyhow::Result<f64> {
    let extra = format!("[log]\nwindow = \"{window}\"\n");
    let server = Running::start_on(Kind::OursFull, &extra, None, data)?;
    let mut stream = connect(server.address)?;
    let subscribe = format!(r#"{{"id":1,"type":"subscribe","channel":"bench","since":"{position}"}}"#);
    let begun = Instant::now();
    stream.write_all(&client_frame(TEXT, subscribe.as_bytes()))?;
    let (mut frames, mut got, mut buffer) = (Frames::default(), 0, vec![0; 256 * 1024]);
    while got < REPLAYED {
        let length = stream.read(&mut buffer).context("waiting for the replay")?;
        ensure!(length > 0, "the server ended the replay after {got}");
        frames.feed(buffer.get(..length).unwrap_or_default(), |(opcode, payload)| {
            got += usize::from(opcode == TEXT && payload.len() >= PAYLOAD);
        });
    }
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(got == REPLAYED, "{got} entries came");
    let reads = server.metric("pregon_log_reads_total")?;
    ensure!(
        (reads > 0.0) == (window == "1MiB"),
        "{reads} reads with a window of {window}"
    );
    Ok(REPLAYED as f64 / seconds)
}

/// A session of the full protocol behind its welcome.
fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(Protocol::Full.request(address, "/ws").as_bytes())?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(9).any(|window| window == b"\"welcome\"") {
        match stream.read(&mut piece)? {
            0 => bail!("refused: {}", String::from_utf8_lossy(&head)),
            length => head.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
    Ok(stream)
}

fn report(
    gib: u64,
    written: &Written,
    starts: &[f64],
    (disk, window): (&[f64], &[f64]),
    effort: Effort,
) -> Report {
    let figure = |what: String, ours: f64, unit, bar| Figure {
        what,
        ours,
        unit,
        against: "–",
        theirs: f64::NAN,
        bar,
    };
    let appended = written.entries as f64 / written.seconds;
    let figures = vec![
        figure(
            format!("start on a log of {gib} GiB, to ready"),
            median(starts),
            "s",
            Bar::Value(2.0),
        ),
        figure(
            "replay from the disk to one client".into(),
            median(disk),
            "entries/s",
            Bar::Least(200_000.0),
        ),
        figure(
            "replay from the window to one client".into(),
            median(window),
            "entries/s",
            Bar::Least(200_000.0),
        ),
        figure("append, durable".into(), appended, "entries/s", Bar::None),
    ];
    let notes = vec![
        format!(
            "Start: {} entries of {LARGE} bytes on 1,000 channels, left as by kill -9; from the start of the process to /readyz with the file cache warm.",
            short(written.entries as f64)
        ),
        format!(
            "Replay: {REPLAYED} entries of {PAYLOAD} bytes over WebSocket in the full protocol, from the subscribe to the last one, client and server on the same cores."
        ),
        format!(
            "Append: batches of {BATCH} entries of {LARGE} bytes through the library, each with its fsync, eight under way."
        ),
    ];
    Report {
        scenario: "log",
        notes,
        figures,
        table: passes(starts, disk, window),
        quick: effort.quick,
    }
}

/// One line for each pass.
fn passes(starts: &[f64], disk: &[f64], window: &[f64]) -> Table {
    let mut table = Table::new(&[
        "pass",
        "start s",
        "from the disk, entries/s",
        "from the window, entries/s",
    ]);
    for (pass, ((start, disk), window)) in starts.iter().zip(disk).zip(window).enumerate() {
        table.rows.push(vec![
            (pass + 1).to_string(),
            short(*start),
            short(*disk),
            short(*window),
        ]);
    }
    table
}
