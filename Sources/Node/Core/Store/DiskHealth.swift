/// What the shell measures about a durable node's disk, since the start.
public struct DiskHealth: Sendable {
    /// How long it took to sync what was written: `fdatasync`, and `fsync` of the directory.
    public var syncs = Histogram(.seconds)
    /// Bytes written to segments and snapshots.
    public var bytesWritten = 0
    /// Snapshots finished.
    public var snapshots = 0
    /// Snapshots given up, for want of room or because the disk refused.
    public var snapshotsLost = 0
    /// Commits that found no room.
    public var refusals = 0
    /// Files that could not be removed; they are asked for again after the next start.
    public var unremoved = 0
    /// Bytes reserved ahead of the end of the newest segment.
    public var reservedBytes = 0
    /// Jobs that are not done yet.
    public var waitingJobs = 0
    /// How long the job that is being done takes already, in microseconds; 0 for none.
    public var busyMicroseconds: UInt64 = 0

    /// Nothing done yet.
    public init() {}

    func writeMetrics(into out: inout MetricsWriter) {
        out.counter("fsyncs_total", "Syncs of the data directory.", Int(syncs.count))
        out.histogram("fsync_seconds", "How long syncs took.", syncs)
        out.counter("disk_written_bytes_total", "Bytes written to the data directory.", bytesWritten)
        out.counter("disk_snapshots_total", "Snapshots written to the data directory.", snapshots)
        out.counter("disk_snapshots_lost_total", "Snapshots that could not be written.", snapshotsLost)
        out.counter("disk_refusals_total", "Commits that found no room.", refusals)
        out.counter("disk_unremoved_total", "Files that could not be removed.", unremoved)
        out.gauge("disk_reserved_bytes", "Room kept ahead of the log's end.", reservedBytes)
        out.gauge("disk_waiting_jobs", "Jobs that the disk has not done yet.", waitingJobs)
        out.gauge(
            "disk_busy_seconds", "How long the disk does the present job.",
            microseconds: Int64(clamping: busyMicroseconds))
    }
}
