module minibroker/tests/clients

go 1.22
