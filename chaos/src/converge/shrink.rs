//! Takes steps away from a plan that fails, as long as it still fails.

use super::plan::Plan;

/// A smaller plan that fails as well. `fails` runs one; every statement may fail, so any part of a plan can be run.
pub async fn shrink<F>(plan: &Plan, mut fails: F) -> anyhow::Result<Plan>
where
    F: AsyncFnMut(&Plan) -> anyhow::Result<bool>,
{
    let mut smallest = plan.clone();
    let mut piece = smallest.steps.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        while from < smallest.steps.len() {
            let mut less = smallest.clone();
            let to = (from + piece).min(less.steps.len());
            less.steps.drain(from..to);
            if fails(&less).await? {
                smallest = less;
            } else {
                from = to;
            }
        }
        piece /= 2;
    }
    Ok(smallest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Capture, Feature, Plan, Step};
    use super::*;

    #[tokio::test]
    async fn what_has_nothing_to_do_with_it_goes() {
        let mut plan = Plan::draw(1, Capture::Outbox, 15, &Feature::all());
        let needed = ["first", "second"].map(|sql| Step::Sql(sql.to_owned()));
        plan.steps.insert(7, needed[0].clone());
        plan.steps.push(needed[1].clone());
        let smallest = shrink(&plan, async |plan| {
            Ok(needed.iter().all(|step| plan.steps.contains(step)))
        });
        assert_eq!(smallest.await.unwrap().steps, needed);
    }
}
