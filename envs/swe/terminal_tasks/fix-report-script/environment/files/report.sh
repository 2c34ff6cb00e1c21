#!/bin/bash
# Sums the orders of each customer.
cd /app/orders
total=0
for file in $(ls *.txt); do
    name=${file%.*t}
    sum=0
    cat $file | while read item amount rest; do
        sum=$((sum + $amount))
    done
    echo $name $sum
    total=$((total + sum))
done > ../report.txt
echo ALL $total > ../report.txt
