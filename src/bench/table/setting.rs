//! The conditions of a cell apart from its policy and its workers: what may stand in one table,
//! and what must not.

use serde::Serialize;

use super::super::result::{Cell, Medium};

/// Conditions under which policies and numbers of workers can be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Whether it is of the model and not of processes.
    pub is_simulated: bool,
    /// What was asked.
    pub mix: String,
    /// How service time was spent.
    pub medium: Medium,
    /// Share of the workers' whole capacity that was asked for; none where that is not known.
    pub load: Option<f64>,
    /// How requests shared connections.
    pub connections: String,
    /// Whether the workers differ in speed.
    pub is_uneven: bool,
}

impl Setting {
    pub(super) fn of(is_simulation: bool, cell: &Cell) -> Self {
        Self {
            is_simulated: is_simulation || cell.medium == Medium::Simulated,
            mix: cell.mix.clone(),
            medium: cell.medium,
            load: cell.load,
            connections: cell.connections.clone(),
            is_uneven: !cell.speeds.is_empty(),
        }
    }

    /// Whether both are the same at another load.
    pub fn is_but_for_load(&self, other: &Self) -> bool {
        *self == Self { load: self.load, ..other.clone() }
    }

    /// The conditions in a few words; simulated ones begin with that word.
    pub fn words(&self) -> String {
        let load = self.load.map(|load| format!("load {}", (load * 1e4).round() / 1e4));
        self.join(load.as_deref())
    }

    /// The conditions without the load.
    pub fn words_without_load(&self) -> String {
        self.join(None)
    }

    fn join(&self, load: Option<&str>) -> String {
        let parts = [
            if self.is_simulated { "simulated" } else { "" },
            &self.mix,
            self.medium.name(),
            load.unwrap_or_default(),
            &self.connections,
            if self.is_uneven { "unequal workers" } else { "" },
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }
}

impl Medium {
    /// What tables call it; nothing where the server itself decided.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep-service",
            Self::Spin => "spin-service",
            Self::Simulated | Self::Server => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::samples::cell;
    use super::*;

    #[test]
    fn words_name_what_is_known() {
        let real = cell("rr", 4, Vec::new());
        assert_eq!(Setting::of(false, &real).words(), "bim100, sleep-service, load 0.8, close");
        let bare =
            Cell { medium: Medium::Server, load: None, connections: String::new(), ..real.clone() };
        assert_eq!(Setting::of(false, &bare).words(), "bim100");
        let model = Cell { medium: Medium::Simulated, speeds: vec![1.0, 0.5], ..real.clone() };
        let words = "simulated, bim100, load 0.8, close, unequal workers";
        assert_eq!(Setting::of(false, &model).words(), words);
        assert!(Setting::of(true, &real).words().starts_with("simulated, "));
        let (one, other) = (
            Setting::of(false, &real),
            Setting::of(false, &Cell { load: Some(0.5), ..real.clone() }),
        );
        assert!(
            one.is_but_for_load(&other) && one.words_without_load() == other.words_without_load()
        );
        assert!(!one.is_but_for_load(&Setting::of(true, &real)));
    }
}
