//! Whoever has least to do. The winner among all seats is kept in a tournament tree: when one
//! seat's load changes, only the matches on its way to the root are played again, so that a pick
//! among 256 workers costs hardly more than one among two.

use alloc::vec::Vec;

use super::{Field, Select};
use crate::units::SeatId;

/// Picks the cheapest seat; among equals the favourite, else the one that was picked longest ago,
/// so that equals take turns.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Least {
    /// Winners by match: the final is at 1, the matches before match `m` at `2m` and `2m + 1`; the
    /// second half holds the seats themselves.
    winners: Vec<u16>,
    /// When each seat was last picked, in picks.
    picked_at: Vec<u64>,
    picks: u64,
}

impl Select for Least {
    fn pick(&mut self, field: &mut Field, favourite: Option<SeatId>) -> Option<SeatId> {
        if self.picked_at.len() != field.len() {
            self.draw_up(field);
        }
        while let Some(seat) = field.take_changed() {
            self.replay(field, seat.0);
        }
        let mut winner = *self.winners.get(1)?;
        let least = field.costs()[usize::from(winner)];
        if least == Field::BARRED {
            return None;
        }
        if let Some(SeatId(favourite)) = favourite
            && field.costs().get(usize::from(favourite)) == Some(&least)
        {
            winner = favourite;
        }
        self.picks += 1;
        self.picked_at[usize::from(winner)] = self.picks;
        self.replay(field, winner);
        Some(SeatId(winner))
    }
}

impl Least {
    /// A new tree for as many seats as there are, all matches played.
    fn draw_up(&mut self, field: &Field) {
        let seats = u16::try_from(field.len()).unwrap_or(u16::MAX);
        self.picked_at.resize(field.len(), 0);
        let half = field.len().next_power_of_two();
        self.winners = alloc::vec![0; 2 * half];
        for (place, seat) in (0..seats).enumerate() {
            self.winners[half + place] = seat;
        }
        // A leaf without a seat repeats the last one: it wins no match that the last would not.
        for place in field.len()..half {
            self.winners[half + place] = seats.saturating_sub(1);
        }
        for number in (1..half).rev() {
            self.winners[number] = self.play(field, number);
        }
    }

    /// Plays the matches between a seat and the final again.
    fn replay(&mut self, field: &Field, seat: u16) {
        let mut number = (self.winners.len() / 2 + usize::from(seat)) / 2;
        while 0 < number {
            self.winners[number] = self.play(field, number);
            number /= 2;
        }
    }

    fn play(&self, field: &Field, number: usize) -> u16 {
        let rivals = [self.winners[2 * number], self.winners[2 * number + 1]];
        let [left, right] = rivals
            .map(|seat| (field.costs()[usize::from(seat)], self.picked_at[usize::from(seat)]));
        if right < left { rivals[1] } else { rivals[0] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rng::Rng;
    use super::*;

    #[test]
    fn the_least_loaded_is_picked_and_equals_take_turns() {
        let mut field = Field::new(4);
        for (seat, load) in [(0, 2), (1, 1), (2, 1), (3, 5)] {
            field.admit(SeatId(seat), load, 0);
        }
        let mut selector = Least::default();
        let picks: Vec<_> =
            (0..4).filter_map(|_| selector.pick(&mut field, None)).map(|seat| seat.0).collect();
        assert_eq!(picks, [1, 2, 1, 2]);
        field.bar(SeatId(1));
        field.bar(SeatId(2));
        assert_eq!(selector.pick(&mut field, None), Some(SeatId(0)));
        field.bar(SeatId(0));
        field.bar(SeatId(3));
        assert_eq!(selector.pick(&mut field, None), None);
        assert_eq!(Least::default().pick(&mut Field::new(0), None), None);
    }

    #[test]
    fn among_equals_the_favourite_is_picked_and_it_costs_nobody_else_a_turn() {
        let mut field = Field::new(3);
        for (seat, load) in [(0, 1), (1, 1), (2, 2)] {
            field.admit(SeatId(seat), load, 0);
        }
        let mut selector = Least::default();
        for (favourite, picked) in [(1, 1), (1, 1), (2, 0), (0, 0), (9, 1)] {
            assert_eq!(selector.pick(&mut field, Some(SeatId(favourite))), Some(SeatId(picked)));
        }
    }

    #[test]
    fn a_heavier_seat_bears_more() {
        let mut field = Field::new(2);
        field.set_weight(SeatId(0), 3);
        field.admit(SeatId(0), 2, 0);
        field.admit(SeatId(1), 1, 0);
        assert_eq!(Least::default().pick(&mut field, None), Some(SeatId(0)));
    }

    #[test]
    fn the_tree_agrees_with_a_scan_whatever_changes() {
        let mut rng = Rng::new(5);
        for seats in [1_u16, 2, 3, 7, 64, 200] {
            let mut field = Field::new(usize::from(seats));
            let mut selector = Least::default();
            for _ in 0..500 {
                for _ in 0..rng.below(4) {
                    let seat = SeatId(u16::try_from(rng.below(u64::from(seats))).unwrap());
                    match rng.below(3) {
                        0 => field.bar(seat),
                        _ => field.admit(seat, u32::try_from(rng.below(4)).unwrap(), 0),
                    }
                }
                let least = field.costs().iter().copied().min().unwrap();
                let picked = selector.pick(&mut field, None);
                match picked {
                    Some(seat) => assert_eq!(field.costs()[seat.index()], least),
                    None => assert_eq!(least, Field::BARRED),
                }
            }
        }
    }
}
