//! What clients, kernel, master and workers do in a simulated world. Each has a number of its own
//! for ever, so that a run's hash outlives every renaming; a new one takes the next free number.

use std::fmt;

/// Declares the verbs: number, name, and the text that a trace shows and counts.
macro_rules! verbs {
    ($($number:literal $name:ident $text:literal,)+) => {
        /// One thing done.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[repr(u8)]
        pub(super) enum Verb {
            $($name = $number,)+
        }

        impl Verb {
            pub(super) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

verbs! {
    1 FailsToWatch "fails to watch",
    2 AcceptsAfterTheCancel "accepts after the cancel",
    3 FailsToAccept "fails to accept",
    4 Accepts "accepts",
    5 RefusesAParcel "refuses a batch",
    6 IsSent "is sent",
    7 IsLeftBehind "is left behind",
    8 Receives "receives",
    9 Refuses "refuses",
    10 LetsGoOf "lets go of",
    11 HoldsALongRequest "holds a long request",
    12 IsClosed "is closed",
    13 Ends "ends, and nobody minds",
    14 IsLeftInTheBacklog "is left in the backlog",
    15 HasHadItsService "has had its service",
    16 IsLetGoInSilence "is let go: it said nothing",
    17 IsClosedAtTheEnd "is closed at the end",
    18 IsRejected "is rejected: too many wait",
    19 SweepsUp "sweeps up",
    20 IsWoken "is woken",
    21 FindsAResetOn "finds a reset on",
    22 ExecutesItsProgramLate "executes its program late",
    23 HasNoProgram "has no program",
    24 GivesBack "gives back",
    25 Answers "answers",
    26 Closes "closes",
    27 CannotBeStartedAtSlot "cannot be started at slot",
    28 StartsAtSlot "starts at slot",
    29 SaysHello "says hello",
    30 MissesIndex "misses index",
    31 Claims "claims",
    32 FillsItsDoorbell "fills its doorbell",
    33 Lies "lies",
    34 Writes "writes",
    35 IsStopped "is stopped",
    36 IsContinued "is continued",
    37 ClosesItsChannel "closes its channel",
    38 LetsItselfBeStartedAnew "lets itself be started anew",
    39 AsksToLeave "asks to leave",
    40 IsLetGoOfByItsTracer "is let go of by its tracer",
    41 GetsSignal "gets signal",
    42 DoesNotDie "does not die",
    43 Leaves "leaves",
    44 Dies "dies",
    45 IsHeldByATracerForUs "is held by a tracer for us",
    46 Orders "orders",
    47 LeapsAheadByUs "leaps ahead by us",
    48 Connects "connects",
    49 Sends "sends",
    50 HangsUp "hangs up",
    51 CalmsDown "calms down",
    52 FindsNobodyListening "finds nobody listening",
    53 IsClosedByItsWorker "is closed by its worker",
    54 DiesWithItsWorker "dies with its worker",
    55 WasLostAtAWorker "was lost at a worker",
    56 WasLostInAChannel "was lost in a channel",
    57 WasDroppedByTheMaster "was dropped by the master",
    58 WasClosedByNobody "was closed by nobody",
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
