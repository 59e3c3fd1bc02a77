#!/bin/sh
# Requests a report: one HTTP request puts a message of type report.requested on the queue. Service
# Bus answers 201.
#
#   ./send.sh '{"report": "turnover", "month": "2026-10"}'
#
# Needs curl, and the Azure CLI logged in as someone with the role Azure Service Bus Data Sender on
# the queue:
#   az role assignment create --assignee <who> --role "Azure Service Bus Data Sender" --scope <the queue's resource ID>
set -eu

token=$(az account get-access-token --resource https://servicebus.azure.net --query accessToken --output tsv)

# The token is passed on standard input, because everyone on the machine can read a command line.
printf 'Authorization: Bearer %s\n' "$token" |
    curl --fail --silent --show-error --header @- \
        --header 'Content-Type: application/json' \
        --header 'BrokerProperties: {"Label":"report.requested"}' \
        --data "$1" \
        https://shop.servicebus.windows.net/reports/messages
