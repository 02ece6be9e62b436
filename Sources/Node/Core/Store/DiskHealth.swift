/// What the shell measures about a durable node's disk, since the start.
public struct DiskHealth: Sendable {
    /// How often written bytes were synced: `fdatasync`, and `fsync` of the directory.
    public var fsyncs = 0
    /// How long that took together, in microseconds.
    public var fsyncMicroseconds: UInt64 = 0
    /// Syncs by their time: bucket `i` counts those of at most `2^(i + shortestBit)` microseconds and more than the bucket
    /// before; the last one counts all that took longer.
    public var fsyncsByTime = InlineArray<21, UInt64>(repeating: 0)
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

    /// The first bucket holds syncs of up to 2^4 microseconds.
    public static let shortestBit = 4

    /// Nothing done yet.
    public init() {}

    /// Adds one sync that took so many microseconds.
    public mutating func addSync(microseconds: UInt64) {
        fsyncs += 1
        fsyncMicroseconds += microseconds
        let bits = UInt64.bitWidth - (microseconds > 0 ? (microseconds - 1).leadingZeroBitCount : UInt64.bitWidth)
        fsyncsByTime[min(max(0, bits - Self.shortestBit), fsyncsByTime.count - 1)] += 1
    }

    /// The rows of `/metrics`, in the Prometheus text format.
    func writeMetrics(into out: inout [UInt8]) {
        func row(_ name: String, _ kind: String, _ help: String, _ value: String) {
            out.append(
                contentsOf: "# HELP hypha_\(name) \(help)\n# TYPE hypha_\(name) \(kind)\nhypha_\(name) \(value)\n".utf8)
        }
        row("fsyncs_total", "counter", "Syncs of the data directory.", "\(fsyncs)")
        row("disk_written_bytes_total", "counter", "Bytes written to the data directory.", "\(bytesWritten)")
        row("disk_snapshots_total", "counter", "Snapshots written to the data directory.", "\(snapshots)")
        row("disk_snapshots_lost_total", "counter", "Snapshots that could not be written.", "\(snapshotsLost)")
        row("disk_refusals_total", "counter", "Commits that found no room.", "\(refusals)")
        row("disk_unremoved_total", "counter", "Files that could not be removed.", "\(unremoved)")
        row("disk_reserved_bytes", "gauge", "Room kept ahead of the log's end.", "\(reservedBytes)")
        row("disk_waiting_jobs", "gauge", "Jobs that the disk has not done yet.", "\(waitingJobs)")
        row("disk_busy_seconds", "gauge", "How long the disk does the present job.", Self.seconds(busyMicroseconds))

        out.append(
            contentsOf: "# HELP hypha_fsync_seconds How long syncs took.\n# TYPE hypha_fsync_seconds histogram\n".utf8)
        var sum: UInt64 = 0
        for bucket in fsyncsByTime.indices {
            sum += fsyncsByTime[bucket]
            let isLast = bucket == fsyncsByTime.count - 1
            let limit = isLast ? "+Inf" : Self.seconds(1 << UInt64(bucket + Self.shortestBit))
            out.append(contentsOf: "hypha_fsync_seconds_bucket{le=\"\(limit)\"} \(sum)\n".utf8)
        }
        out.append(
            contentsOf:
                "hypha_fsync_seconds_sum \(Self.seconds(fsyncMicroseconds))\nhypha_fsync_seconds_count \(fsyncs)\n".utf8
        )
    }

    /// `microseconds` as seconds with six decimals.
    private static func seconds(_ microseconds: UInt64) -> String {
        let fraction = String(microseconds % 1_000_000)
        return "\(microseconds / 1_000_000)." + String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
    }
}
