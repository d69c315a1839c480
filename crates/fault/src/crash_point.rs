//! [`CrashPoint`]: every step of the write path before and after which the process may die.
//!
//! A new step that makes something durable, or that moves something durable, gets a point before it and one after it.

use crate::named;

named! {
    /// A place at which the process can be made to die.
    CrashPoint {
        /// The data folder is made, its number of partitions is not written.
        DataFolderMade = "start.data_folder_made",
        /// The number of partitions is written under another name.
        PartitionsStaged = "start.partitions_staged",
        /// The number of partitions has its name; the folder is not synced.
        PartitionsNamed = "start.partitions_named",
        /// The registry is open, the store is not.
        RegistryOpened = "start.registry_opened",
        /// The first start made its application, and no token yet.
        FirstApplicationMade = "start.first_application_made",
        /// The first start made its token, and no set-up code yet.
        FirstTokenMade = "start.first_token_made",
        /// The command line's token is in the registry, not in its file.
        CliTokenMade = "start.cli_token_made",
        /// The command line's token is written under another name.
        CliTokenStaged = "start.cli_token_staged",
        /// Everything is open, nobody is served yet.
        BeforeServing = "start.before_serving",

        /// The log's last segment is verified, and nothing of it is changed.
        RecoveryVerified = "recovery.verified",
        /// A torn tail is copied beside its segment; the copy is not synced.
        RecoveryTailCopied = "recovery.tail_copied",
        /// The copy of a torn tail is durable, the tail is not cut.
        RecoveryTailKept = "recovery.tail_kept",
        /// The torn tail is cut, and that is not synced.
        RecoveryTailCut = "recovery.tail_cut",
        /// A segment without a whole header is removed; the folder is not synced.
        RecoveryUnfinishedRemoved = "recovery.unfinished_removed",
        /// The log's last group is written again and not synced.
        RecoveryRewritten = "recovery.rewritten",
        /// The log's last group is synced again.
        RecoverySynced = "recovery.synced",

        /// A group of records is about to be written.
        LogBeforeWrite = "log.before_write",
        /// The group is written and not synced.
        LogBeforeSync = "log.before_sync",
        /// The group is durable, and nobody knows it.
        LogAfterSync = "log.after_sync",
        /// Whoever waits for the disk knows that the group is durable; readers do not see it.
        LogBeforePublish = "log.before_publish",
        /// Readers see the group.
        LogAfterPublish = "log.after_publish",
        /// The log is closing and its seal is not written.
        LogBeforeSeal = "log.before_seal",
        /// The log is sealed.
        LogAfterSeal = "log.after_seal",
        /// The room behind a segment's last group is about to be cut off.
        SegmentBeforeCut = "segment.before_cut",
        /// The room behind a segment's last group is cut off, durably.
        SegmentCut = "segment.cut",
        /// A new segment has a name and no content.
        SegmentCreated = "segment.created",
        /// A new segment has its header, not synced.
        SegmentWritten = "segment.written",
        /// A new segment's header is durable; its name is not.
        SegmentSynced = "segment.synced",
        /// A new segment's name is durable; it is not used yet.
        SegmentNamed = "segment.named",

        /// A record of the registry passed its checks and is not appended.
        RegistryBeforeAppend = "registry.before_append",
        /// A record of the registry is durable, and nobody sees it.
        RegistryAfterAppend = "registry.after_append",
        /// A record of the registry is seen, and nobody was answered.
        RegistryAfterApply = "registry.after_apply",

        /// What became of a group of records is decided, and nobody sees it.
        ApplyBeforePublish = "apply.before_publish",
        /// A group of records is in the hot buffer, and nobody was answered.
        ApplyBeforeAnswer = "apply.before_answer",
        /// A group of records was answered.
        ApplyAfterAnswer = "apply.after_answer",
        /// The tables are read, the logs are not replayed.
        ReplayStart = "replay.start",
        /// A group of records is replayed, and there are more.
        ReplayGroup = "replay.group",
        /// The logs are replayed.
        ReplayEnd = "replay.end",

        /// A generation of the hot buffer takes no more rows, and nothing of it is written.
        FlushSealed = "flush.sealed",
        /// The rejections are committed, the events are not.
        FlushRejectionsCommitted = "flush.rejections_committed",
        /// The Parquet files are durable, the commit is not begun.
        FlushFilesWritten = "flush.files_written",
        /// The events are committed; readers still see the hot buffer.
        FlushBeforeSwap = "flush.before_swap",
        /// Readers see the new version; the log is not trimmed.
        FlushBeforeTrim = "flush.before_trim",
        /// The log is trimmed.
        FlushAfterTrim = "flush.after_trim",
        /// A segment is about to be removed.
        TrimBeforeRemove = "trim.before_remove",
        /// A segment is removed; the folder is not synced.
        TrimRemoved = "trim.removed",
        /// The removal of a segment is durable.
        TrimSynced = "trim.synced",

        /// A merged file is durable and read back, its commit is not begun.
        CompactFilesWritten = "compact.files_written",
        /// A compaction is committed; readers still see the old files.
        CompactBeforeSwap = "compact.before_swap",
        /// Readers see the merged file; the old ones lie where they were.
        CompactSwapped = "compact.swapped",
        /// A data file that nobody needs is about to be removed.
        VacuumBeforeRemove = "vacuum.before_remove",
        /// A data file that nobody needs is removed; the folder is not synced.
        VacuumRemoved = "vacuum.removed",

        /// An erasure is accepted and durable; readers still see the rows.
        EraseAccepted = "erase.accepted",
        /// Files without the rows that go are durable and read back, their commit is not begun.
        RemovalFilesWritten = "removal.files_written",
        /// Rows are taken out by a commit; readers still see the old files.
        RemovalBeforeSwap = "removal.before_swap",
        /// No file of the newest version has an erased row; the log has.
        EraseRewritten = "erase.rewritten",
        /// The log has no erased row any more; files of older versions have.
        EraseTrimmed = "erase.trimmed",
        /// A file of an older version is removed; the folder is not synced.
        EraseFileRemoved = "erase.file_removed",
        /// Nothing has an erased row; nobody has written so.
        EraseBeforeDone = "erase.before_done",
        /// It is written that an erasure is done; what it wanted is still there too.
        EraseNoted = "erase.noted",

        /// A commit is about to be written.
        CommitBeforeWrite = "commit.before_write",
        /// A commit is durable and was not read back.
        CommitWritten = "commit.written",
        /// A commit was read back; this process does not use it yet.
        CommitVerified = "commit.verified",
        /// A checkpoint is about to be written.
        CheckpointBeforeWrite = "checkpoint.before_write",
        /// A checkpoint is written and not proven.
        CheckpointWritten = "checkpoint.written",
        /// A checkpoint is proven.
        CheckpointProven = "checkpoint.proven",
        /// A table has no first commit yet.
        TableBeforeCreate = "table.before_create",
        /// A table has its first commit, and is not loaded.
        TableCreated = "table.created",
        /// The newest commit is damaged and is about to be set aside.
        RepairBeforeMove = "repair.before_move",
        /// The damaged newest commit is set aside.
        RepairMoved = "repair.moved",

        /// A folder of the table is made; its parent is not synced.
        FolderMade = "local.folder_made",
        /// A data file is staged and not synced.
        FileStaged = "local.file_staged",
        /// A staged data file is durable and has no name.
        FileSynced = "local.file_synced",
        /// A data file has its name; the folder is not synced.
        FileNamed = "local.file_named",
        /// A data file's name is durable.
        FileDurable = "local.file_durable",
        /// A file of the table's log is staged and not synced.
        CommitStaged = "local.commit_staged",
        /// A staged file of the table's log is durable and has no name.
        CommitSynced = "local.commit_synced",
        /// A file of the table's log has its name; the folder is not synced.
        CommitNamed = "local.commit_named",
        /// The name of a file of the table's log is durable.
        CommitDurable = "local.commit_durable",
        /// A file has moved; the folders are not synced.
        FileMoved = "local.file_moved",

        /// Stopping: everything is flushed, the threads still run.
        StopFlushed = "stop.flushed",
        /// Stopping: the store is closed, the registry is not.
        StopStoreClosed = "stop.store_closed",
    }
}
