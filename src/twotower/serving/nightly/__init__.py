"""Every night: export the changes of a service, train on them, and publish the new bundle if it is good."""
