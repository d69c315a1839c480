//! [`Sabotage`]: bugs that tests must notice. Each is a mistake that somebody could make, in one place of the product.

use crate::named;

named! {
    /// A bug that can be switched on.
    Sabotage {
        /// The log never syncs what it writes.
        SkipLogSync = "skip_log_sync",
        /// The log acknowledges a group and syncs it afterwards.
        AcknowledgeBeforeSync = "acknowledge_before_sync",
        /// A new segment's folder is not synced.
        SkipSegmentFolderSync = "skip_segment_folder_sync",
        /// The log takes a failed sync for a success.
        IgnoreSyncError = "ignore_sync_error",
        /// The log takes a failed write for a success.
        IgnoreWriteError = "ignore_write_error",
        /// Recovery cuts damage in the middle of the log off instead of refusing it.
        CutDamage = "cut_damage",
        /// Trimming the log forgets everything that is durable, in the table or not.
        TrimUnflushed = "trim_unflushed",
        /// The log is trimmed before the commit that holds its records.
        TrimBeforeCommit = "trim_before_commit",

        /// Some events are counted as stored and never reach the hot buffer.
        DropInApply = "drop_in_apply",
        /// Replay passes over one record of each group that it reads.
        DropOnReplay = "drop_on_replay",
        /// A repeated event is applied again.
        SkipDedup = "skip_dedup",
        /// The identities of stored events are not read back at a restart.
        ForgetDedup = "forget_dedup",
        /// A duplicate is answered as stored.
        StoredForDuplicate = "stored_for_duplicate",
        /// The answer names offsets that are one too high.
        AnswerWrongOffset = "answer_wrong_offset",
        /// What was received is not read back at a restart.
        ForgetLedger = "forget_ledger",

        /// A Parquet file is not synced.
        SkipFileSync = "skip_file_sync",
        /// A commit's file is not synced.
        SkipCommitSync = "skip_commit_sync",
        /// The folder of the commits is not synced.
        SkipCommitFolderSync = "skip_commit_folder_sync",
        /// A flush writes its rows twice.
        FlushTwice = "flush_twice",
        /// A commit is written twice, under two versions.
        CommitTwice = "commit_twice",
        /// A commit says that one offset more is in the table than is.
        FlushedTooHigh = "flushed_too_high",
        /// A commit says that one offset less is in the table than is.
        FlushedTooLow = "flushed_too_low",
        /// Rows of one session stand in the table in the wrong order.
        ReorderRows = "reorder_rows",
        /// Times lose their microseconds on the way into the table.
        TruncateTimes = "truncate_times",
        /// Rejections lose their message on the way into the table.
        ForgetRejectionMessage = "forget_rejection_message",
        /// Rows on their way to the table are in no reader's view.
        HideFlushing = "hide_flushing",

        /// The first compaction's commit leaves in the table what it has merged.
        CompactKeepsOld = "compact_keeps_old",
        /// A compaction's commit leaves out what it has written.
        CompactLosesNew = "compact_loses_new",
        /// A vacuum removes files that the table lists.
        VacuumListed = "vacuum_listed",
        /// An accepted erasure hides nothing until it is done.
        EraseHidesLate = "erase_hides_late",
        /// An accepted erasure is not written down.
        EraseNotNoted = "erase_not_noted",
        /// An erasure leaves the log as it is.
        EraseKeepsLog = "erase_keeps_log",
        /// An erasure passes over the newest file.
        EraseSkipsNewest = "erase_skips_newest",
        /// An erasure takes the row behind each chosen one too.
        EraseOneTooMany = "erase_one_too_many",
        /// Retention takes a day too many.
        RetentionDayTooMany = "retention_day_too_many",

        /// A change of the registry is shown and never written.
        SkipRegistryAppend = "skip_registry_append",
        /// Every token sees what is of all applications.
        ShowOtherApplications = "show_other_applications",
    }
}
