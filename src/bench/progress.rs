//! A bar for runs that take their time, on the standard error and only where somebody looks: in a
//! file it would be noise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::load::Progress;

/// How far a run is, for people.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for so many requests.
    pub fn new(total: u64) -> Self {
        let template = "{wide_bar} {pos}/{len} requests  {msg}  {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is sound");
        // It draws nothing where the standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        bar.set_style(style);
        Self { bar }
    }

    /// Draws how far it is.
    pub fn show(&self, progress: Progress) {
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
        let bar = Bar::new(10);
        bar.show(Progress { done: 4, errors: 1, total: 10 });
        assert_eq!((bar.bar.position(), bar.bar.message().as_str()), (4, "1 errors"));
        bar.finish();
    }
}
