//! A bar for runs that take their time, on the standard error and only where somebody looks: in a
//! file it would be noise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::load::RunProgress;

/// How far a run is, for people.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for so many of what `units` names.
    pub fn new(units: &str, total: u64) -> Self {
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {units}  {{msg}}  {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("the template is sound");
        // It draws nothing where the standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        bar.set_style(style);
        Self { bar }
    }

    /// One more is done, and this is next.
    pub fn step(&self, doing: &str) {
        self.bar.inc(1);
        self.bar.set_message(doing.to_owned());
    }

    /// So many of so many are done, and this is under way.
    pub fn at(&self, done: u64, total: u64, doing: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(doing.to_owned());
    }

    /// Draws how far it is.
    pub fn show(&self, progress: RunProgress) {
        self.bar.set_position(progress.done);
        if 0 < progress.errors {
            self.bar.set_message(format!("{} errors", progress.errors));
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_follows_the_run() {
        let bar = Bar::new("requests", 10);
        bar.show(RunProgress { done: 4, errors: 1, total: 10 });
        assert_eq!((bar.bar.position(), bar.bar.message().as_str()), (4, "1 errors"));
        bar.finish();
    }
}
