//! What a request costs beside its answer. Burning and sleeping hold the whole worker up, as the
//! handler of a real program would: that is what makes k workers k servers.

use super::http::BuiltinRoute;
use super::strength::Strength;
use crate::sys::clock;
use crate::units::Span;

/// What is to be done before the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestWork {
    /// Nothing.
    None,
    /// Use CPU time.
    Burn(Span),
    /// Block.
    Sleep(Span),
    /// Serve others meanwhile.
    Park(Span),
}

impl RequestWork {
    /// What a route costs.
    pub(super) const fn of(route: BuiltinRoute) -> Self {
        match route {
            BuiltinRoute::Burn { span } => Self::Burn(span),
            BuiltinRoute::Sleep { span } => Self::Sleep(span),
            BuiltinRoute::Wait { span } => Self::Park(span),
            BuiltinRoute::Root
            | BuiltinRoute::Whoami
            | BuiltinRoute::Healthz
            | BuiltinRoute::Bytes { .. }
            | BuiltinRoute::Echo
            | BuiltinRoute::Options { .. }
            | BuiltinRoute::Unserved(_) => Self::None,
        }
    }

    /// The same, at the strength of this worker.
    pub(super) const fn at(self, strength: Strength) -> Self {
        match self {
            Self::None => Self::None,
            Self::Burn(span) => Self::Burn(strength.stretch(span)),
            Self::Sleep(span) => Self::Sleep(strength.stretch(span)),
            Self::Park(span) => Self::Park(strength.stretch(span)),
        }
    }

    /// Spends the time that is to be spent here and now.
    pub(super) fn carry_out(self) {
        match self {
            Self::None | Self::Park(_) => {}
            Self::Sleep(span) => clock::sleep(span),
            Self::Burn(span) => {
                let start = clock::thread_cpu().as_ns();
                while clock::thread_cpu().as_ns() - start < span.as_ns() {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burning_takes_processor_time_and_sleeping_takes_none() {
        let span = Span::from_ms(20);
        let cpu = || clock::thread_cpu().as_ns();
        let start = cpu();
        RequestWork::of(BuiltinRoute::Burn { span }).carry_out();
        let burnt = cpu() - start;
        assert!(span.as_ns() <= burnt, "{burnt} ns");
        let (start, began_at) = (cpu(), clock::monotonic());
        RequestWork::of(BuiltinRoute::Sleep { span }).carry_out();
        assert!(span <= clock::monotonic().since(began_at));
        assert!(cpu() - start < span.as_ns());
        let began_at = clock::monotonic();
        RequestWork::of(BuiltinRoute::Wait { span: Span::from_s(60) }).carry_out();
        assert!(clock::monotonic().since(began_at) < Span::from_s(30));
    }
}
