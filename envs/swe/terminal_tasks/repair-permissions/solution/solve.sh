#!/bin/bash
set -e
cd /app/site
chmod -R u+rwX .
chmod -R ug-s,o-t .
find . -type d -exec chmod 755 {} +
find . -type f -exec chmod 644 {} +
find . -name '*.sh' -exec chmod 755 {} +
find keys -type d -exec chmod 700 {} +
find keys -type f -exec chmod 600 {} +
