# The table of docs/reliability.md: pausebench faults --json | jq -r -f faults-table.jq
.rows[] | [
  .phase,
  .fault,
  (if .where == "nowhere" then "nowhere" else .where + " QEMU" end),
  (if .pause_ns == null then "–"
   elif .pause_ns == 0 then "never stopped"
   else "\(.pause_ns / 1e5 | round / 10) ms" end),
  (if .giving_up_ns == null then "–" else "\(.giving_up) \(.giving_up_ns / 1e3 | round) µs" end),
  .harm,
  .exit_status,
  "\(.took_s) s"
] | "| " + join(" | ") + " |"
