//! What was measured: figures of several runs by name, and the table to read at the end.

use std::collections::BTreeMap;

use crate::machine::median;

/// Figures by name, one of each run.
#[derive(Default)]
pub(crate) struct Series(BTreeMap<&'static str, Vec<f64>>);

impl Series {
    pub(crate) fn push(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// The middle value; `None` if there is none.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|values| median(&mut values.clone()))
    }

    /// Prints one line: the median and its range over the runs.
    pub(crate) fn print(&self, name: &str, unit: &str) {
        if let Some(values) = self.0.get(name) {
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
            println!(
                "  {name:<44}{:>12} {unit}  ({} to {})",
                shown(median(&mut values.clone())),
                shown(low),
                shown(high)
            );
        }
    }
}

/// What a figure is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Printed only.
    None,
}

/// The table at the end.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    skipped: usize,
}

impl Report {
    /// Adds a figure; a missing one is not added.
    pub(crate) fn add(&mut self, measure: &str, value: Option<f64>, unit: &str, goal: Goal) {
        let Some(value) = value else { return };
        let (goal, is_reached) = match goal {
            Goal::AtLeast(goal) => (format!("≥ {}", shown(goal)), if value >= goal { "yes" } else { "no" }),
            Goal::AtMost(goal) => (format!("≤ {}", shown(goal)), if value <= goal { "yes" } else { "no" }),
            Goal::None => (String::new(), ""),
        };
        self.lines.push(format!("{measure:<76}{:>12} {unit:<12}{goal:>10}  {is_reached}", shown(value)));
    }

    /// Adds what could not be measured.
    pub(crate) fn skip(&mut self, what: &str, why: &dyn std::fmt::Display) {
        println!("skipped: {what}, because {why}");
        self.lines.push(format!("{what:<76}     skipped"));
        self.skipped += 1;
    }

    pub(crate) fn print(&self) {
        println!("\n{:<76}{:>12} {:<12}{:>10}  reached", "measure (medians)", "figure", "", "to reach");
        for line in &self.lines {
            println!("{line}");
        }
        println!("skipped: {}", self.skipped);
    }
}

/// A figure with as many digits as mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_several_runs_is_told() {
        let mut series = Series::default();
        for value in [3.0, 1.0, 2.0] {
            series.push("rate", value);
        }
        assert_eq!(series.median("rate"), Some(2.0));
        assert_eq!(series.median("other"), None);
    }

    #[test]
    fn a_goal_is_reached_or_not() {
        let mut report = Report::default();
        report.add("a", Some(0.5), "", Goal::AtLeast(0.5));
        report.add("b", Some(11.0), "ms", Goal::AtMost(10.0));
        report.add("c", None, "ms", Goal::None);
        assert_eq!(report.lines.len(), 2);
        assert!(report.lines[0].ends_with("yes") && report.lines[1].ends_with("no"));
    }
}
