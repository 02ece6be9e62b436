/// How much of each trouble a sweep must have had: a simulator that is kind to the nodes proves nothing.
enum Minimums {
    /// Whether the core sends snapshots, resets, retires logs, collects tombstones and folds checkpoints: until it
    /// does, none of these is demanded.
    static let coreCollects = true
    /// Whether random weather makes logs fork (see `Plan.drawsClones`).
    static let logsFork = Plan.drawsClones
    /// Whether some machines have disks.
    static let drawsDisks = Plan.drawsDisks

    /// The least number of each trouble in 1,000 seeds of random weather: well below what they bring, so that only a
    /// fault of the simulator or of the core falls short.
    static let per1000Seeds: [(trouble: Trouble, least: Int, isDemanded: Bool)] = [
        (.partitions, 800, true), (.oneWayCuts, 300, true), (.bridges, 300, true), (.crashes, 800, true),
        (.restarts, 800, true), (.leaves, 200, true), (.pauses, 400, true), (.joins, 100, true),
        (.clockSteps, 400, true), (.wrongStarts, 200, true), (.clockCorrections, 100, true),
        (.driftChanges, 150, true), (.bursts, 150, true), (.slowLinks, 100, true),
        (.twins, 20_000, true), (.copies, 10_000, true), (.conflicts, 2_000, true),
        (.lateEntries, 200_000, true), (.waits, 20_000, true), (.repairs, 5_000, true),
        (.graphRemovals, 4_000, true), (.clockReads, 20_000, true), (.clockWaits, 5_000, true),
        (.snapshots, 100, coreCollects), (.resets, 50, coreCollects), (.retirements, 100, coreCollects),
        (.tombstones, 2_000, coreCollects), (.foldedOperations, 1_000, coreCollects),
        (.powerLosses, 250, drawsDisks), (.recoveries, 800, drawsDisks), (.commits, 400_000, drawsDisks),
        (.fullDisks, 100, drawsDisks), (.refusedFull, 3_000, drawsDisks), (.slowDisks, 40, drawsDisks),
        (.stuckDisks, 80, drawsDisks), (.diskFailures, 25, drawsDisks), (.rottenDisks, 80, drawsDisks),
        (.lostFiles, 35, drawsDisks), (.wipedDisks, 45, drawsDisks), (.staleDisks, 30, drawsDisks),
        (.restoredDisks, 20, drawsDisks), (.refusedStarts, 5, drawsDisks),
        (.strongAcks, 40_000, Crowd.asksLevels), (.tooFew, 25_000, Crowd.asksLevels),
        (.tooLate, 12_000, Crowd.asksLevels),
        (.resumes, 8_000, true), (.aheadResumes, 200, true), (.gapsTold, 50, true), (.overruns, 200, true),
        (.drains, 50, true),
        // Nearly all copies are told from their originals before their logs differ: forks are for stories and unit tests.
        (.clones, 5, logsFork),
    ]
    /// A smaller sweep may lack anything.
    static let fewestSeeds: UInt64 = 1_000

    /// What a sweep of so many seeds of random weather lacked, a line each; nothing for a smaller one.
    static func lacking(_ tally: Tally, seeds: UInt64) -> [String] {
        guard seeds >= fewestSeeds else { return [] }
        return per1000Seeds.compactMap { row in
            let least = row.least * Int(seeds) / 1_000
            guard row.isDemanded, tally[row.trouble] < least else { return nil }
            return "too little trouble: \(tally[row.trouble]) \(row.trouble.rawValue), at least \(least) are needed"
        }
    }
}
