//! Convergence: a client keeps a collection by key from what it is told, and at every quiet point that is the table.
//!
//! ```text
//!   seed ─▶ draw (schema, triggers, writes, changes) ─▶ Plan ─▶ run ─┬─▶ schema `app` ─▶ gateway ─▶ client ─▶ Collection
//!                                                                    └─▶ schema `control`, which nobody watches │
//!                        the same SQLSTATE in both, and at each quiet point: table `app` = Collection ◀─────────┘
//! ```
//!
//! `seeds` runs many of them and says how to run one that failed again; `shrink` takes steps away from it while it fails.

mod dice;
mod feature;
mod types;
mod schema;
mod triggers;
mod writes;
mod changes;
mod plan;
mod draw;
mod follower;
mod run;
mod shrink;
mod seeds;

pub use feature::{Capture, Feature};
pub use follower::Naive;
pub use plan::{Plan, Step, Watch};
pub use run::{Outcome, prepare, run};
pub use seeds::{Options, Summary, run_seeds};
pub use shrink::shrink;
