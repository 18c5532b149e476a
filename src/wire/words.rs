//! The words of a status, each with what it means: who shows a status takes them from here, and so
//! does who explains it.

/// An enum of which every value is a word for people, and has a meaning.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($value:ident $word:literal $meaning:literal)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $(#[doc = $meaning] $value,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The word.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$value => $meaning,)*
                }
            }
        }
    };
}

words! {
    /// Where a worker is in its life.
    Standing {
        Vacant "vacant" "no process: the slot waits for its next attempt"
        Launching "launching" "the kernel has not executed its program yet"
        Starting "starting" "its program runs and is not ready yet"
        Ready "ready" "takes connections"
        Stopped "stopped" "by SIGSTOP or a debugger: takes nothing until it goes on"
        Draining "draining" "takes no more, and finishes what it has"
        Terminating "terminating" "was sent SIGTERM"
        Killing "killing" "was sent SIGKILL"
        Reclaiming "reclaiming" "is gone; what it had not begun is being taken back"
    }
}

words! {
    /// Where the whole app is in its life.
    Phase {
        Starting "starting" "no worker is ready yet, or none any more"
        Serving "serving" "at least one worker takes connections"
        Stopping "stopping" "finishes what has begun, and ends"
    }
}

words! {
    /// What became of a reload.
    ReloadOutcome {
        Running "running" "workers are being replaced"
        Done "done" "every worker is of this generation"
        GivenUp "given up" "new workers were not ready in time, or died soon; the old ones serve"
        CutShort "cut short" "dispatchd was told to stop meanwhile"
    }
}
