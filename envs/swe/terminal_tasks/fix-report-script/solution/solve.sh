#!/bin/bash
set -e
cat > /app/report.sh <<'EOF'
#!/bin/bash
# Sums the orders of each customer.
cd /app/orders || exit 1
export LC_ALL=C
total=0
for file in *.txt; do
    sum=$(awk '!/^#/ {s += $2} END {print s + 0}' "$file")
    echo "${file%.txt} $sum"
    total=$((total + sum))
done > ../report.txt
echo "ALL $total" >> ../report.txt
EOF
bash /app/report.sh
