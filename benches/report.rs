//! Figures with their goals, and what they come to.

use std::fmt;

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report(Vec<Line>);

struct Line {
    name: String,
    figure: f64,
    unit: &'static str,
    goal: Goal,
}

/// What a figure is to be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        figure: f64,
        unit: &'static str,
        goal: Goal,
    ) {
        let line = Line { name: name.into(), figure, unit, goal };
        println!("  {line}");
        self.0.push(line);
    }

    pub(crate) fn print(&self) {
        println!("\nresults");
        for line in &self.0 {
            println!("{line}");
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, goal, met) = match self.goal {
            Goal::AtLeast(goal) => ("≥", goal, self.figure >= goal),
            Goal::AtMost(goal) => ("≤", goal, self.figure <= goal),
        };
        let met = if met { "met" } else { "short" };
        let Line { name, figure, unit, .. } = self;
        write!(f, "{name:<58} {figure:>9.2} {unit:<6} goal {sign} {goal} {unit}  {met}")
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The one that this share of the figures does not exceed.
pub(crate) fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * share) as usize;
    figures[at.min(figures.len() - 1)]
}

/// Memory that a process has resident, in MB.
pub(crate) fn resident(process: u32) -> f64 {
    figure(process, "VmRSS:") / 1024.0
}

/// A figure of a process as the kernel tells it.
pub(crate) fn figure(process: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a figure");
    let number = line.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    number.expect("a number")
}
