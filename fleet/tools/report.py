"""The table of totals: what senders, ledgers and topics say must be equal."""

from hosts import MESSAGES


class Totals:
    """Rows of numbers, one for each host and one for all; some rows have the latter only."""

    def __init__(self, hosts):
        self.hosts, self.rows = hosts, []

    def add(self, what, by_host):
        self.rows.append((what, by_host, sum(by_host)))
        return sum(by_host)

    def add_fleet(self, what, total):
        self.rows.append((what, [""] * len(self.hosts), total))
        return total

    def print(self):
        titles = [host.name for host in self.hosts]
        print(f"{'':<70}" + "".join(f"{title:>9}" for title in [*titles, "fleet"]))
        for what, by_host, total in self.rows:
            print(f"{what:<70}" + "".join(f"{number:>9}" for number in [*by_host, total]))


def report(run, comparison, results, inputs):
    """Prints everything, and returns the exit status."""
    totals = Totals(run.hosts)
    requests = add_senders_and_ledgers(totals, run, comparison)
    add_topics(totals, run, comparison, inputs, requests)
    totals.print()
    print(f"records in the topic metrics: {len(inputs.by_identity)}, and {inputs.repeats} repeats")
    print(f"results: {len(results.by_key)}, written {sum(results.versions.values())} times; {comparison.compared} compared")
    print("largest deviation of percentiles {percentile:.3%}, of sets {set:.3%}".format(**comparison.worst))
    for fault, seconds in run.faults:
        print(f"fault: {fault}; the job completed a checkpoint {seconds:.0f} s after it began")
    for wrong in comparison.wrong[:40]:
        print(f"WRONG: {wrong}")
    print(f"{comparison.compared} results compared, {len(comparison.wrong)} failures")
    return 1 if comparison.wrong else 0


def add_senders_and_ledgers(totals, run, comparison):
    by_host = [load.requests() for load in run.loads]
    requests = totals.add("requests sent by the senders", by_host)
    sent = totals.add(f"samples sent by the senders ({MESSAGES} for each request)", [MESSAGES * each for each in by_host])
    samples = [[ledger for ledger, _ in run.ledgers(host)] for host in run.hosts]
    aggregated = totals.add(
        "samples aggregated, by the ledgers", [sum(each["aggregated"] for each in ledgers) for ledgers in samples])
    totals.add("samples rejected, by the ledgers",
               [sum(sum(each["rejected"].values()) for each in ledgers) for ledgers in samples])
    if sent != aggregated:
        comparison.wrong.append(f"the ledgers have {aggregated} samples instead of {sent}")
    return requests


def add_topics(totals, run, comparison, inputs, requests):
    flushed = [sum(kafka["flushed"] for _, kafka in run.ledgers(host)) for host in run.hosts]
    records = [sum(record["tags"]["host"] == host.name for record in inputs.by_identity.values()) for host in run.hosts]
    totals.add("points flushed to Kafka, by the ledgers", flushed)
    totals.add("records in the topic metrics, without repeats", records)
    if flushed != records:
        comparison.wrong.append(f"the topic metrics has {records} records, the ledgers flushed {flushed}")
    in_topic = totals.add("requests in the topic metrics",
                          [round(count(inputs, host.name)) for host in run.hosts])
    sums = [in_topic]
    for (interval, by_environment, kind), total in sorted(comparison.totals.items()):
        groups = "environment, service" if by_environment else "service"
        sums.append(totals.add_fleet(f"requests in metrics.fleet, {kind}, by [{groups}], {interval} s", round(total)))
    if any(total != requests for total in sums):
        comparison.wrong.append("the totals of the topics differ from those of the senders")


def count(inputs, host):
    return sum(record["fields"]["count"] for record in inputs.by_identity.values()
               if record["name"] == "rpc.requests" and record["type"] == "counter" and record["tags"]["host"] == host)
