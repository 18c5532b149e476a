//! The eight laws of `dispatchd::io`, held against every backend: io_uring and epoll over this
//! machine's kernel, and the simulator's port over its fake one. Whatever is written over the port
//! may rely on them, and on nothing else; what the simulator proves of the master is proved for
//! the real backends as far as all three keep the same laws.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod accepts;
mod batches;
mod chance;
mod endings;
mod kernel;
mod machine;
mod rig;
mod staged;
mod streams;
mod watches;

macro_rules! laws {
    (everywhere { $($law:ident::$clause:ident)* } machine { $($local:ident::$detail:ident)* }) => {
        mod uring {
            use dispatchd::io::uring::Uring;

            $(#[test]
            fn $clause() {
                super::$law::$clause(&super::kernel::Machine::<Uring>::new);
            })*
            $(#[test]
            fn $detail() {
                super::$local::$detail::<Uring>();
            })*
        }
        mod epoll {
            use dispatchd::io::epoll::Epoll;

            $(#[test]
            fn $clause() {
                super::$law::$clause(&super::kernel::Machine::<Epoll>::new);
            })*
            $(#[test]
            fn $detail() {
                super::$local::$detail::<Epoll>();
            })*
        }
        mod sim {
            $(#[test]
            fn $clause() {
                super::staged::on_stages(super::$law::$clause);
            })*
        }
    };
}

// What is listed for the machine alone is about things that the fake kernel does not have: bytes,
// flags and numbers of descriptors, CPU time, threads, full queues, several sleeping processes.
laws! {
    everywhere {
        accepts::one_accept_takes_one_connection
        accepts::an_accept_waits_although_the_listener_does_not
        accepts::a_cancelled_accept_ends_once_and_loses_no_connection
        watches::a_watch_gives_its_descriptor_back
        watches::a_standing_watch_tells_each_time_what_can_be_read
        watches::what_another_has_read_is_not_told
        watches::whoever_gets_a_number_again_is_watched_anew
        watches::a_standing_watch_that_was_withdrawn_can_be_set_again
        watches::a_watch_ends_by_cancel_or_by_expiry
        watches::who_has_spoken_is_not_let_go
        watches::more_watches_than_completions_fit_all_end
        watches::a_late_word_about_an_old_token_does_nothing
        watches::each_ring_wakes_without_a_read
        watches::a_doorbell_rung_before_anybody_listened_is_heard
        watches::a_full_doorbell_silences_no_other
        watches::nothing_is_told_after_the_last
        batches::a_batch_arrives_and_comes_back
        batches::a_batch_of_any_size_leaves_no_copy_behind
        batches::a_full_channel_is_an_answer_and_everything_is_back
        batches::a_closed_channel_is_an_answer_and_everything_is_back
        batches::a_handoff_that_is_cut_short_gives_everything_back
        batches::a_channel_that_ends_takes_only_its_own_copies
        batches::unread_batches_wait_in_order_and_need_no_copy_of_ours
        batches::a_flood_of_batches_is_conserved
        batches::a_handoff_ends_a_wait_only_when_it_fails
        batches::a_handoff_that_is_alone_ends_its_wait
        endings::a_released_source_ends_what_names_it
        endings::a_released_source_ends_nothing_else
        endings::a_source_that_was_released_is_not_served
        endings::a_closed_descriptor_is_gone
        endings::a_wait_lasts_as_long_as_asked
        endings::submitting_neither_waits_nor_completes
        endings::quiescing_ends_everything_once_and_leaves_it_usable
        endings::dropping_with_work_in_flight_is_harmless
        chance::every_operation_ends_exactly_once
    }
    machine {
        machine::an_accepted_connection_blocks_and_closes_on_exec
        machine::a_process_that_does_not_wait_keeps_no_connection_from_others
        machine::shared_connections_arrive_once
        machine::a_sleeper_without_an_accept_takes_no_wake_up
        machine::what_nobody_takes_does_not_spin
        machine::a_released_number_may_be_used_again_at_once
        machine::failures_beyond_the_completion_queue_are_all_told
        machine::no_kernel_thread_is_started
        streams::streams_are_read_and_written_in_order
        streams::a_full_stream_takes_a_part_and_goes_on_later
        streams::an_expired_read_ends
    }
}
